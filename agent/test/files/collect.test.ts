// Collecting from archives that are cut anywhere, and spools that are taken up by another life.
import { createHash, randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { Readable } from 'node:stream'
import t, { type Test } from 'tap'
import { tarOf } from '../../src/docker/tar.ts'
import { ArchiveBroken, createCollector } from '../../src/files/collect.ts'
import { openArtifactSpools } from '../../src/files/spools.ts'

const sha256 = (content: Buffer | string): string => createHash('sha256').update(content).digest('hex')
const entry = (path: string, content: Buffer | string) => ({ path, mode: 0o644, uid: 0, content: Buffer.from(content) })

/** As Docker gives the folder. */
const archiveOf = (packed: Buffer, notes = 'end:packed\0'): Buffer =>
  tarOf([{ path: 'out', mode: 0o755, uid: 0, content: null }, entry('out/notes', notes), entry('out/tar', packed)])

const world = async (t: Test, { dir = t.testdir(), bytesMax = 10_000_000 } = {}) => {
  const warned: string[] = []
  const points: string[] = []
  const spools = await openArtifactSpools({
    dir: `${dir}/spools`,
    bytesMax,
    onFinished: () => {},
    warn: (_facts, message) => warned.push(message),
  })
  const limits = { countMax: 100, fileBytesMax: 1_000_000, bytesMax: 10_000_000 }
  const collector = createCollector({ spools, limits, crashPoint: (point) => points.push(point) })
  const collect = (archive: Readable, attemptId = 'c.1') => collector.collect(attemptId, archive, ['/output/**'])
  return { dir, spools, collector, collect, warned, points }
}

const BIG = randomBytes(200_000)
const FILES = [
  entry('./output/a', 'one'),
  entry('./output/big', BIG),
  entry('./output/b', 'one'),
  entry('./output/z', 'last'),
]

t.test('all files come, in pieces of any size; the same content lies there once', async (t) => {
  const whole = archiveOf(tarOf(FILES))
  for (const size of [1000, 511, 65_536]) {
    const { spools, collect, points } = await world(t, { dir: t.testdir({ [`of-${size}`]: {} }) })
    const pieces = Array.from({ length: Math.ceil(whole.length / size) }, (_, at) =>
      whole.subarray(at * size, (at + 1) * size),
    )
    const left = await collect(Readable.from(pieces))
    t.same(
      left.artifacts.map(({ name, bytes, sha256 }) => [name, bytes, sha256]),
      [
        ['output/a', 3, sha256('one')],
        ['output/big', BIG.length, sha256(BIG)],
        ['output/b', 3, sha256('one')],
        ['output/z', 4, sha256('last')],
      ],
    )
    t.same(points, ['artifacts.half-stored', 'artifacts.stored'])
    const spool = spools.get('c.1')
    t.same(await spool?.read(sha256(BIG), 100, 1000), BIG.subarray(100, 1100))
    t.same(await spool?.read(sha256('last'), 0, 1000), Buffer.from('last'))
  }
})

t.test('archives that follow one another are one', async (t) => {
  const { collect } = await world(t)
  const packed = Buffer.concat([tarOf(FILES.slice(0, 2)), Buffer.alloc(8192), tarOf(FILES.slice(2))])
  t.equal((await collect(Readable.from([archiveOf(packed)]))).artifacts.length, 4)
})

t.test('Docker’s archive that ends anywhere is read again, and leaves nothing', async (t) => {
  const whole = archiveOf(tarOf(FILES))
  const { dir, collect, spools } = await world(t)
  for (const cut of [0, 100, 512, 1700, 5000, 100_000, whole.length - 2000]) {
    const broken = Readable.from(
      (async function* () {
        yield whole.subarray(0, cut)
        throw Object.assign(new Error('gone'), { code: 'ECONNRESET' })
      })(),
    )
    await t.rejects(collect(broken), ArchiveBroken, `after ${cut} bytes`)
    if (cut > 0 && cut % 512 !== 0) await t.rejects(collect(Readable.from([whole.subarray(0, cut)])), ArchiveBroken)
    t.same(readdirSync(`${dir}/spools`), [])
  }
  t.equal((await collect(Readable.from([whole]))).artifacts.length, 4)
  t.equal(spools.all().length, 1)
})

t.test('the archive of the container that ends anywhere keeps what was whole', async (t) => {
  const packed = tarOf(FILES)
  const { collect, spools } = await world(t)
  for (const [cut, names] of [
    [packed.length - 1000, 4],
    [packed.length - 1700, 3],
    [100_000, 1],
    [1030, 1],
    [700, 1],
    [513, 0],
    [10, 0],
    [0, 0],
  ] as const) {
    const left = await collect(Readable.from([archiveOf(packed.subarray(0, cut))]))
    t.equal(left.artifacts.length, names, `after ${cut} bytes`)
    await spools.remove('c.1')
  }
  const { artifacts, missing } = await collect(Readable.from([archiveOf(tarOf(FILES), '')]))
  t.same([artifacts.length, missing], [4, 'notPacked'])
})

t.test('what was finished is there in the next life, what was not is gone', async (t) => {
  const first = await world(t)
  const left = await first.collect(Readable.from([archiveOf(tarOf(FILES))]))
  mkdirSync(`${first.dir}/spools/half.1`)
  writeFileSync(`${first.dir}/spools/half.1/contents`, 'half')
  mkdirSync(`${first.dir}/spools/torn.1`)
  writeFileSync(`${first.dir}/spools/torn.1/list.json`, '{"artifacts":[')
  const second = await world(t, { dir: first.dir })
  t.same(second.collector.collected('c.1'), left)
  t.equal(second.collector.collected('half.1'), null)
  t.same(readdirSync(`${first.dir}/spools`), ['c.1'])
})

t.test('beyond the bound the oldest are given up, and stay known as lost', async (t) => {
  const { dir, collect, spools, warned } = await world(t, { bytesMax: 450_000 })
  for (const attemptId of ['c.1', 'c.2', 'c.3']) await collect(Readable.from([archiveOf(tarOf(FILES))]), attemptId)
  t.same(
    spools.all().map((spool) => spool.left().artifacts.every(({ lost }) => lost)),
    [true, false, false],
  )
  t.equal(existsSync(`${dir}/spools/c.1/contents`), false)
  t.match(warned, ['too many files'])
  const next = await world(t, { dir, bytesMax: 450_000 })
  t.ok(
    next.collector.collected('c.1')?.artifacts.every(({ lost }) => lost),
    'in the next life too',
  )
})
