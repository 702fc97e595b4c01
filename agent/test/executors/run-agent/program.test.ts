// The program of a container of the pool, run by real shells: what comes out is what went in, and it runs once or not at all.
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { HOOK_NAMES, type RunAgentPayload } from '@agent-executor/protocol'
import fc from 'fast-check'
import t from 'tap'
import { environmentFile } from '../../../src/executors/run-agent/environment.ts'
import { RAN_BEFORE } from '../../../src/executors/run-agent/input.ts'
import { inputBytes, PROGRAM_INPUT_BYTES_MAX, program } from '../../../src/executors/run-agent/program.ts'

const SHELLS = [['dash'], ['bash', '--posix'], ['busybox', 'sh']].map((argv) => ({
  name: argv.join(' '),
  argv: argv as [string, ...string[]],
  skip: spawnSync(argv[0] as string, ['-c', 'true']).error === undefined ? false : `needs ${argv[0]}`,
}))

type Change = Partial<Parameters<typeof program>[1]>
const input = (change: Change) => ({ prompt: 'true', files: [], hooks: {}, env: null, engine: null, ...change })
const payload = (change: Change): RunAgentPayload => ({
  engine: 'shell',
  prompt: '',
  // Here is no container whose folders could be packed.
  artifacts: [],
  ...(change.hooks === undefined ? {} : { hooks: change.hooks }),
})

/** A folder that stands for the root of a container, and one that shell reads as its standard input. */
function container(shell: (typeof SHELLS)[number]) {
  const root = mkdtempSync(join(tmpdir(), 'program'))
  const reset = () => {
    for (const folder of ['input', 'workspace']) rmSync(join(root, folder), { recursive: true, force: true })
    for (const folder of ['input/own', 'workspace']) mkdirSync(join(root, folder), { recursive: true })
    writeFileSync(join(root, 'input/once'), '')
  }
  reset()
  const inside = (bytes: Buffer): Buffer =>
    Buffer.from(
      bytes
        .toString('latin1')
        .replaceAll('/input/', `${root}/input/`)
        .replaceAll('/workspace', `${root}/workspace`)
        .replaceAll('exec /bin/sh ', `exec ${shell.argv.join(' ')} `),
      'latin1',
    )
  return {
    reset,
    inside,
    run(stdin: Buffer) {
      const [file, ...args] = shell.argv
      const { status, stdout, stderr } = spawnSync(file, args, { input: stdin, cwd: join(root, 'workspace') })
      return { status, stdout: stdout.toString('latin1'), stderr: stderr.toString() }
    },
    begun: () => statSync(join(root, 'input/once')).size > 0,
    file: (path: string): Buffer => readFileSync(join(root, 'workspace', path)),
    mode: (path: string): number => statSync(join(root, 'workspace', path)).mode & 0o777,
    remove: () => rmSync(root, { recursive: true, force: true }),
  }
}

const ALL_BYTES = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte))

for (const shell of SHELLS) {
  const { skip } = shell
  t.test(shell.name, { skip }, async (t) => {
    const at = container(shell)
    t.teardown(at.remove)
    const runs = (change: Change) => {
      at.reset()
      return at.run(at.inside(program({ ...payload(change), endsAfterMs: 60_000 }, input(change))))
    }

    t.test('runs the prompt with what belongs to it, and its standard input is empty', async (t) => {
      const prompt = `cat; echo "$GREETING" it\\'s; cat -- a '-rf ü' 'with "quotes" and $(dollars) {;#' deep/er/b; ./run; exit 7\n`
      const env = environmentFile([['GREETING', 'two\nlines $HOME `x` \'"\\ ']])
      const files = [
        { path: 'a', content: 'A\n' },
        { path: '-rf ü', content: 'odd\n' },
        { path: 'with "quotes" and $(dollars) {;#', content: 'odder\n' },
        { path: 'deep/er/b', content: '' },
        { path: 'run', content: '#!/bin/sh\necho running\n', mode: '0755' as const },
      ]
      t.same(runs({ prompt, env, files }), {
        status: 7,
        stdout: "two\nlines $HOME `x` '\"\\  it's\nA\nodd\nodder\nrunning\n",
        stderr: '',
      })
      t.equal(at.mode('a'), 0o644)
      t.equal(at.mode('run'), 0o755)
    })

    t.test('runs hooks', async (t) => {
      const hooks = Object.fromEntries(
        HOOK_NAMES.map((name) => [name, { script: `echo "it's ${name} $JOB_EXIT_CODE"`, timeoutMs: 9000 }]),
      )
      const { status, stdout } = runs({ prompt: 'echo engine', hooks })
      t.equal(status, 0)
      t.same(
        stdout.split('\n').filter((line) => line !== '' && !line.startsWith('agent-exec')),
        ["it's pre ", 'engine', "it's post 0", "it's always 0"],
      )
    })

    t.test('every byte of every content arrives', async (t) => {
      const big = Buffer.alloc(PROGRAM_INPUT_BYTES_MAX, ALL_BYTES)
      const files = [ALL_BYTES, big, Buffer.alloc(4096, 1), Buffer.alloc(4097, 2)].map((content, index) => ({
        path: String(index),
        contentBase64: content.toString('base64'),
      }))
      t.equal(runs({ files }).status, 0)
      for (const { path, contentBase64 } of files)
        t.ok(at.file(path).equals(Buffer.from(contentBase64, 'base64')), `file ${path}`)
      fc.assert(
        fc.property(fc.uint8Array({ maxLength: 300 }), fc.string({ unit: 'grapheme', minLength: 1 }), (bytes, text) => {
          const path = `f/${text.replaceAll(/[/\p{Cc}]/gu, '') || 'x'}x`
          const prompt = `: ${"'"}${text.replaceAll(/['\0]/g, '')}${"'"}; echo ran`
          const { stdout } = runs({ prompt, files: [{ path, contentBase64: Buffer.from(bytes).toString('base64') }] })
          return stdout === 'ran\n' && at.file(path).equals(Buffer.from(bytes))
        }),
        { numRuns: 30 },
      )
    })

    t.test('cut anywhere it does not begin, nor where it comes whole behind that', async (t) => {
      const change: Change = {
        prompt: `echo effect # it's } ; "fi`,
        env: "export A='}'\n",
        files: [{ path: "d/it's }", content: '}\n}\n)\n"\'`' }],
        hooks: { post: { script: 'echo hook', timeoutMs: 1000 } },
      }
      const whole = at.inside(program({ ...payload(change), endsAfterMs: 60_000 }, input(change)))
      const exact = whole.toString('latin1').trimEnd().length
      // A run has one place in ten; all of them were tried.
      const first = Math.floor(10 * Math.random())
      for (let cut = first; cut < exact; cut += 10) {
        const part = whole.subarray(0, cut)
        at.reset()
        at.run(part)
        if (at.begun()) t.fail(`began, cut at ${cut}`)
        at.reset()
        const twice = at.run(Buffer.concat([part, whole]))
        const isWhole = part.toString('latin1').trim() === ''
        if (!isWhole && (at.begun() || twice.stdout !== '')) t.fail(`began, cut at ${cut} and followed by the whole`)
      }
      t.pass(`${exact} places, every tenth from ${first}`)
    })

    t.test('two of them run one', async (t) => {
      const change: Change = { prompt: 'echo effect; cat' }
      const whole = at.inside(program({ ...payload(change), endsAfterMs: 60_000 }, input(change)))
      at.reset()
      t.match(at.run(Buffer.concat([whole, whole])), { status: 0, stdout: 'effect\n', stderr: '' })
      t.match(at.run(whole), { status: 125, stdout: '', stderr: `${RAN_BEFORE}\n` }, 'nor does a later one')
    })
  })
}

t.test('what there is to write is counted in bytes', async (t) => {
  const files = [
    { path: 'a', content: 'ü' },
    { path: 'b', contentBase64: 'AAA=' },
  ]
  t.equal(inputBytes(input({ prompt: 'üü', files, env: 'x', hooks: { pre: { script: 'yy', timeoutMs: 1 } } })), 11)
})
