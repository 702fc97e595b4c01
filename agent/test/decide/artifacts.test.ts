// Which files are kept: nothing that an archive says is believed.
import t from 'tap'
import { createSieve, notesOf } from '../../src/decide/artifacts.ts'

const LIMITS = { countMax: 3, fileBytesMax: 100, bytesMax: 150 }
const sieve = (patterns = ['/output/**', '**/*.md'], limits = LIMITS) => createSieve(patterns, limits)
const file = (name: string, bytes = 1) => ({ name, type: 'file', bytes })

t.test('files that were asked for are taken, by their path without the first slash', async (t) => {
  const { verdict } = sieve()
  t.same(verdict(file('./output/a/b', 5)), { type: 'take', name: 'output/a/b', bytes: 5 })
  t.same(verdict(file('./workspace/x.md')), { type: 'take', name: 'workspace/x.md', bytes: 1 })
  t.same(verdict(file('./workspace/x.txt')), { type: 'pass' })
  t.same(verdict(file('./etc/x.md')), { type: 'pass' })
  t.same(verdict({ name: './output/', type: 'directory', bytes: 0 }), { type: 'pass' })
})

t.test('names that are no clean paths', async (t) => {
  const bad = [
    '/output/a',
    '../output/a',
    './output/../a',
    './output/./a',
    './output//a',
    './output/a/',
    '',
    './',
    'output/a\0b',
    'output/\uFFFD',
    'output/\ud800',
    `output/${'x'.repeat(1000)}`,
  ]
  for (const name of bad)
    t.match(sieve().verdict(file(name)), { type: 'skip', reason: 'badName' }, JSON.stringify(name))
  for (const name of ['output/..a', 'output/a\nb', 'output/"', 'output/-rf', 'output/\u202e'])
    t.equal(sieve().verdict(file(name)).type, 'take', JSON.stringify(name))
})

t.test('whatever is no regular file', async (t) => {
  for (const type of ['link', 'symlink', 'fifo', 'character-device', 'block-device', 'socket', null, undefined])
    t.match(sieve().verdict({ name: 'output/a', type, bytes: 0 }), { reason: 'notAFile' }, String(type))
  t.match(sieve().verdict({ name: 'output/a', type: 'contiguous-file', bytes: 0 }), { type: 'take' })
})

t.test('limits, each by its name', async (t) => {
  const { verdict } = sieve()
  for (const bytes of [101, Number.POSITIVE_INFINITY, -1, 0.5, Number.NaN, undefined])
    t.match(verdict({ name: `output/${bytes}`, type: 'file', bytes }), { reason: 'tooLarge' }, String(bytes))
  t.match(verdict(file('output/a', 100)), { type: 'take' })
  t.match(verdict(file('output/a', 1)), { reason: 'duplicate' })
  t.match(verdict(file('output/b', 51)), { reason: 'tooMuch' })
  t.match(verdict(file('output/c', 50)), { type: 'take' })
  t.match(verdict(file('output/d', 0)), { type: 'take' })
  t.match(verdict(file('output/e', 0)), { reason: 'tooMany' })
})

t.test('the list has to fit into a request', async (t) => {
  const { verdict } = sieve(['/output/**'], { countMax: 1000, fileBytesMax: 1, bytesMax: 1000 })
  const taken: string[] = []
  for (let index = 0; index < 1000; index++) {
    const name = `output/${index}-${'\u0001'.repeat(900)}`
    const judged = verdict(file(name, 0))
    if (judged.type === 'take') taken.push(name)
    else t.match(judged, { reason: 'tooMuch' })
  }
  const artifacts = taken.map((name) => ({ name, bytes: 1e9, sha256: '0'.repeat(64), lost: false }))
  const bytes = Buffer.byteLength(JSON.stringify({ artifacts }))
  t.ok(taken.length > 150 && bytes < 1_048_576, `${taken.length} files, ${bytes} bytes`)
})

t.test('what a container says of its packing', async (t) => {
  t.same(notesOf(''), { tooLarge: [], changes: null, end: null })
  t.same(notesOf('./output/a\0./output/end:none\0end:packed\0'), {
    tooLarge: ['./output/a', './output/end:none'],
    changes: null,
    end: 'packed',
  })
  t.same(notesOf('end:none\0'), { tooLarge: [], changes: null, end: 'none' })
  t.same(notesOf('end:noTar\0'), { tooLarge: [], changes: null, end: 'noTar' })
  t.same(notesOf('git:\0M\0a\0A\0end:none\0X\0odd\0:git\0./output/b\0end:packed\0'), {
    tooLarge: ['./output/b'],
    changes: {
      count: 2,
      files: [
        { path: 'a', status: 'modified' },
        { path: 'end:none', status: 'added' },
      ],
    },
    end: 'packed',
  })
  const many = Array.from({ length: 300 }, (_, index) => `A\0${index}\0`).join('')
  const { changes } = notesOf(`git:\0${many}:git\0end:none\0`)
  t.same([changes?.count, changes?.files.length], [300, 200])
  t.same(notesOf('end:other\0rubbish'), { tooLarge: [], changes: null, end: null })
})
