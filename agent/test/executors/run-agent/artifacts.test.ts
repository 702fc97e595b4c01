// What containers leave, on the real Docker: kept byte for byte, and nothing that a prompt packs gets anywhere else.
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import type { RunAgentPayload } from '@agent-executor/protocol'
import t, { type Test } from 'tap'
import { needsDocker } from '../../docker/fixtures/real-docker.ts'
import { agentWithDocker, DEFAULTS, resultOf, until } from './fixtures/attempts.ts'

const MIB = 2 ** 20
/** For a file of 3 GB, of which nothing is there. */
const ROOMY = { ...DEFAULTS, workspaceBytes: 4096 * MIB }
const sha256 = (content: string | Buffer): string => createHash('sha256').update(content).digest('hex')

type Agent = ReturnType<typeof agentWithDocker>

/** Every file that was kept, with its content. */
const contentsOf = async (agent: Agent): Promise<Record<string, string>> => {
  const spool = (await agent.artifactSpools).get(agent.attemptId)
  const contents: Record<string, string> = {}
  for (const { name, sha256, bytes } of spool?.left().artifacts ?? [])
    contents[name] = (await spool?.read(sha256, 0, bytes))?.toString() ?? ''
  return contents
}

const runIn = async (
  t: Test,
  payload: Partial<RunAgentPayload>,
  change: Parameters<typeof agentWithDocker>[1] = {},
) => {
  const agent = agentWithDocker(t, change)
  const outcome = await agent.begin(payload).outcome
  return { agent, outcome, result: resultOf(outcome), contents: await contentsOf(agent) }
}

const skippedIn = ({ artifactsSkipped }: ReturnType<typeof resultOf>) =>
  Object.fromEntries((artifactsSkipped?.files ?? []).map(({ name, reason }) => [name, reason]))

t.test('what is in /output is kept, and the result names it', needsDocker, async (t) => {
  const prompt =
    'mkdir -p /output/a/b; printf one > /output/a/b/one; printf two > /output/two; : > /output/empty; echo said'
  const { result, contents } = await runIn(t, { prompt })
  t.same(contents, { 'output/a/b/one': 'one', 'output/two': 'two', 'output/empty': '' })
  t.match(result, { exitCode: 0, stdout: { text: 'said\n' }, stderr: { text: '' } })
  t.same(
    [...result.artifacts].sort((a, b) => (a.name < b.name ? -1 : 1)),
    [
      { name: 'output/a/b/one', bytes: 3, sha256: sha256('one') },
      { name: 'output/empty', bytes: 0, sha256: sha256('') },
      { name: 'output/two', bytes: 3, sha256: sha256('two') },
    ],
  )
  t.notOk('artifactsSkipped' in result || 'artifactsMissing' in result)
})

t.test('nothing left is nothing kept, and said of no run that ended by itself', needsDocker, async (t) => {
  for (const [payload, missing] of [
    [{ prompt: 'echo x > /workspace/x' }, undefined],
    [{ prompt: 'true', artifacts: [] }, undefined],
    [{ prompt: 'true', artifacts: ['**'] }, undefined],
    [{ prompt: 'exit 3' }, undefined],
    [{ prompt: 'kill -9 $PPID' }, 'notPacked'],
  ] as const) {
    const { result, agent } = await runIn(t, payload as Partial<RunAgentPayload>)
    t.same([result.artifacts, result.artifactsMissing], [[], missing], payload.prompt)
    t.equal((await agent.artifactSpools).all().length, 0)
  }
})

t.test('patterns choose in the workspace, and nothing else comes', needsDocker, async (t) => {
  const prompt =
    'mkdir -p a/b .hidden; for f in top.md a/in.md a/b/deep.md .hidden/x.md a/b/no.txt; do printf "$f" > $f; done; printf o > /output/o; printf l > /output/l.log'
  const kept = async (artifacts: string[]) => Object.keys((await runIn(t, { prompt, artifacts })).contents).sort()
  t.same(await kept(['**/*.md']), [
    'workspace/.hidden/x.md',
    'workspace/a/b/deep.md',
    'workspace/a/in.md',
    'workspace/top.md',
  ])
  t.same(await kept(['a/*.md', '/output/*.log']), ['output/l.log', 'workspace/a/in.md'])
  t.same(await kept(['/workspace/a/?/[c-e]eep.md', 'top.md']), ['workspace/a/b/deep.md', 'workspace/top.md'])
})

t.test('names of any kind: newlines, quotes, unicode, dashes, long ones', needsDocker, async (t) => {
  const names = [
    'a\nb',
    '"quoted" \'twice\'',
    'ünï-😀',
    '-rf',
    '$(touch x)',
    '*',
    'end:packed',
    'back\\slash',
    'n'.repeat(255),
  ]
  const script = names.map((name) => `printf x > '/output/${name.replaceAll("'", "'\\''")}'`).join('\n')
  const deep = `d=/output; i=0; while [ $i -lt 30 ]; do d=$d/${'p'.repeat(20)}; i=$((i+1)); done; mkdir -p $d; printf deep > $d/f`
  const { contents, result } = await runIn(t, { prompt: `${script}\n${deep}\nprintf x > "$(printf '/output/\\377')"` })
  const deepName = `output/${Array.from({ length: 30 }, () => 'p'.repeat(20)).join('/')}/f`
  t.same(Object.keys(contents).sort(), [...names.map((name) => `output/${name}`), deepName].sort())
  t.equal(contents[deepName], 'deep')
  t.match(Object.values(skippedIn(result)), ['badName'], 'one that is not UTF-8')
})

t.test('links, pipes and sockets are named, not followed', needsDocker, async (t) => {
  const prompt =
    'cd /output; printf x > file; ln -s /etc/passwd sym; ln -s /etc folder; mkfifo pipe; ln file hard; ln -s file inside'
  const { contents, result } = await runIn(t, { prompt })
  t.equal(Object.keys(contents).length, 1, 'the two names of one file are one')
  t.equal(Object.values(contents)[0], 'x')
  const skipped = skippedIn(result)
  t.match(skipped, {
    'output/sym': 'notAFile',
    'output/folder': 'notAFile',
    'output/pipe': 'notAFile',
    'output/inside': 'notAFile',
  })
  t.equal(result.artifactsSkipped?.count, 5)
})

t.test('10,000 files: a thousand are kept, the rest is counted', needsDocker, async (t) => {
  const { contents, result } = await runIn(t, {
    prompt: 'i=0; while [ $i -lt 10000 ]; do echo $i > /output/$i; i=$((i+1)); done',
  })
  t.equal(Object.keys(contents).length, 1000)
  t.match(result.artifactsSkipped, { count: 9000, files: { length: 50 } })
  t.equal(result.artifactsSkipped?.files[0]?.reason, 'tooMany')
})

t.test('caps: one file, all of them, and 3 GB of nothing', needsDocker, async (t) => {
  const beginsMs = performance.now()
  const { contents, result } = await runIn(
    t,
    {
      prompt:
        'cd /output; truncate -s 3G sparse; for f in a b c; do head -c 2000000 /dev/zero > $f; done; head -c 3000001 /dev/zero > large; echo small > z',
    },
    {
      limits: { fileBytesMax: 3_000_000, bytesMax: 5_000_000 },
      ...{ defaults: ROOMY, maxima: ROOMY },
    },
  )
  t.ok(performance.now() - beginsMs < 30_000)
  const skipped = skippedIn(result)
  t.match(skipped, { 'output/sparse': 'tooLarge', 'output/large': 'tooLarge' })
  t.equal(Object.values(skipped).filter((reason) => reason === 'tooMuch').length, 1)
  t.equal(Object.keys(contents).length, 3)
})

t.test('more than the disk may take: what was packed whole is kept', needsDocker, async (t) => {
  const prompt =
    'head -c 20000000 /dev/urandom > /workspace/a; head -c 20000000 /dev/urandom > /output/b; echo c > /output/c'
  const { result } = await runIn(t, { prompt, artifacts: ['/workspace/**', '/output/**'] })
  t.equal(result.exitCode, 0)
  t.ok(result.artifacts.length >= 1)
  t.match(Object.values(skippedIn(result)), ['cut'])
})

t.test('an archive that the prompt has made by itself gets nothing anywhere', needsDocker, async (t) => {
  // The supervisor is killed, so that what it would have packed does not take its place.
  const hostile = (commands: string) => `${commands}\nkill -9 $PPID`
  const inTar = 'cd /tmp; mkdir -p output; printf evil > output/f; printf x > passwd'
  const cases: Record<string, [string, string[], Record<string, string>]> = {
    'paths that climb': [
      `${inTar}; tar -P --transform 's,output/f,output/../../escaped,' -cf /input/out/tar output/f`,
      [],
      { 'output/../../escaped': 'badName' },
    ],
    'absolute paths': [
      `${inTar}; tar -P --transform 's,output/f,/output/f,' -cf /input/out/tar output/f`,
      [],
      { '/output/f': 'badName' },
    ],
    'a name outside of the two folders': [`${inTar}; tar -cf /input/out/tar passwd`, [], {}],
    'a hard link to a file of the host': [
      `${inTar}; ln output/f output/g; tar --transform 's,output/f,/etc/passwd,h' -cf /input/out/tar output/f output/g`,
      [],
      {},
    ],
    'a link, then a file through it': [
      `${inTar}; ln -s /etc output/d; tar -cf /input/out/tar output/d; rm output/d; mkdir output/d; printf y > output/d/passwd; tar -rf /input/out/tar output/d/passwd`,
      ['output/d/passwd'],
      { 'output/d': 'notAFile' },
    ],
    'the same name twice': [
      `${inTar}; tar -cf /input/out/tar output/f; printf other > output/f; tar -rf /input/out/tar output/f`,
      ['output/f'],
      { 'output/f': 'duplicate' },
    ],
    'no archive at all': ['head -c 5000 /dev/urandom > /input/out/tar', [], {}],
    'an archive that ends in the middle': [
      `${inTar}; head -c 100000 /dev/urandom > output/big; tar -cf - output/f output/big | head -c 50000 > /input/out/tar`,
      ['output/f'],
      { 'output/big': 'cut' },
    ],
    'a sparse file of GNU': [
      `${inTar}; truncate -s 1M output/hole; printf x >> output/hole; tar -S --format=oldgnu -cf /input/out/tar output/hole`,
      [],
      {},
    ],
  }
  for (const [what, [commands, kept, skipped]] of Object.entries(cases)) {
    const { contents, result } = await runIn(t, { prompt: hostile(commands) })
    t.same(Object.keys(contents), kept, what)
    t.match(skippedIn(result), skipped, what)
    t.equal(result.artifactsMissing, 'notPacked', what)
  }
})

t.test('the files for the archive cannot be replaced, and no others be made', needsDocker, async (t) => {
  const { result } = await runIn(t, {
    prompt:
      'rm -f /input/out/tar /input/out/notes; ln -s /etc/passwd /input/out/x; mv /input/out /input/o; mkdir /input/out2; ls /input/out; echo kept > /output/f',
  })
  t.equal(result.stdout.text, 'notes\ntar\n')
  t.equal(result.artifacts.length, 1)
})

t.test('an attempt that takes too long keeps its files; one that ignores the signal too', needsDocker, async (t) => {
  for (const prompt of [
    'echo partly > /output/f; sleep 1000',
    'trap "" TERM; echo partly > /output/f; while :; do sleep 0.1; done',
  ]) {
    const agent = agentWithDocker(t)
    const attempt = agent.begin({ prompt }, { timeoutMs: 2000 })
    const outcome = await attempt.outcome
    t.match(outcome, { state: 'TIMED_OUT', result: { reason: 'timeout', artifacts: [{ name: 'output/f' }] } })
    t.same(await contentsOf(agent), { 'output/f': 'partly\n' })
  }
})

t.test('cancelled: packed within its grace, or after it; a fence waits for nothing', needsDocker, async (t) => {
  const begun = async (prompt: string) => {
    const agent = agentWithDocker(t)
    const attempt = agent.begin({ prompt })
    await until('it runs', async () => (await agent.containers())[0]?.State === 'running')
    await sleep(700)
    return { agent, attempt }
  }
  const polite = await begun('echo partly > /output/f; sleep 1000')
  polite.attempt.stop({ type: 'cancel', reason: 'x', graceMs: 5000 })
  const beginsMs = performance.now()
  t.match(await polite.attempt.outcome, {
    state: 'CANCELLED',
    result: { reason: 'cancelled', artifacts: [{ name: 'output/f' }] },
  })
  t.ok(performance.now() - beginsMs < 4000)

  const deaf = await begun('trap "" TERM; echo partly > /output/f; while :; do sleep 0.1; done')
  deaf.attempt.stop({ type: 'cancel', reason: 'x', graceMs: 500 })
  t.match(await deaf.attempt.outcome, { state: 'CANCELLED', result: { artifacts: [{ name: 'output/f' }] } })

  const fenced = await begun('trap "" TERM; echo partly > /output/f; while :; do sleep 0.1; done')
  fenced.attempt.stop({ type: 'fence' })
  t.match(await fenced.attempt.outcome, {
    state: 'INTERRUPTED',
    result: { artifacts: [], artifactsMissing: 'notPacked' },
  })
})

t.test('what the engine has left running is ended before its files are read', needsDocker, async (t) => {
  const { contents, result } = await runIn(t, {
    prompt: '(while :; do echo more >> /output/f; done) & sleep 0.3; echo over',
  })
  t.match(contents['output/f'], /^(more\n)+$/)
  t.same(result.artifactsSkipped, undefined)
})

t.test('hooks come first, and a failing one keeps the files', needsDocker, async (t) => {
  const hook = (script: string) => ({ script, timeoutMs: 5000 })
  const { contents, outcome } = await runIn(t, {
    prompt: 'echo engine > /output/engine',
    hooks: { post: hook('echo post > /output/post; exit 4'), always: hook('echo always > /output/always') },
  })
  t.match(outcome, {
    state: 'FAILED',
    error: { code: 'HOOK_FAILED' },
    result: { hooks: [{ exitCode: 4 }, { exitCode: 0 }] },
  })
  t.same(contents, { 'output/always': 'always\n', 'output/engine': 'engine\n', 'output/post': 'post\n' })
})

t.test('exit codes and signals are those of the engine, as without files', needsDocker, async (t) => {
  for (const [prompt, exitCode] of [
    ['echo f > /output/f; exit 7', 7],
    ['echo f > /output/f; kill -TERM $$', 143],
    ['echo f > /output/f; kill -KILL $$', 137],
  ] as const) {
    const { result } = await runIn(t, { prompt })
    t.same([result.exitCode, result.artifacts.length], [exitCode, 1], prompt)
  }
})

t.test('collected once: a later life takes what is there, or begins anew', needsDocker, async (t) => {
  const agent = agentWithDocker(t)
  const prompt = 'echo one > /output/one; echo two > /output/two'
  const first = await agent.begin({ prompt }).outcome
  t.match(resultOf(first).artifacts, { length: 2 })
  await agent.container().remove({ force: true, v: true })
  const again = await agent.begin({ prompt }).outcome
  t.match(
    again,
    { error: { code: 'INTERRUPTED' }, result: { artifacts: resultOf(first).artifacts } },
    'of a container that is gone',
  )
})

t.test('uploads are in the workspace before anything runs', needsDocker, async (t) => {
  const large = Buffer.alloc(5 * MIB, 'large\n')
  const script = Buffer.from('#!/bin/sh\necho it runs\n')
  const uploads = { [sha256(large)]: large, [sha256(script)]: script, [sha256('')]: Buffer.alloc(0) }
  const files = [
    { path: 'deep/er/large', upload: sha256(large) },
    { path: 'run', upload: sha256(script), mode: '0755' as const },
    { path: 'empty', upload: sha256('') },
    { path: 'deep/inline', content: 'inline' },
  ]
  const { result } = await runIn(
    t,
    { prompt: 'sha256sum < deep/er/large; ./run; stat -c %s empty; cat deep/inline; find . -type f | wc -l', files },
    { uploads },
  )
  t.equal(result.stdout.text, `${sha256(large)}  -\nit runs\n0\ninline4\n`)
})

t.test('uploads that cannot be had fail the attempt, and nothing ran', needsDocker, async (t) => {
  const missing = await runIn(t, { files: [{ path: 'a', upload: sha256('gone') }] })
  t.match(missing.outcome, { state: 'FAILED', error: { code: 'FILES_UNAVAILABLE', retryable: true } })
  t.equal((await missing.agent.containers()).length, 0)
  const wrong = await runIn(
    t,
    { files: [{ path: 'a', upload: sha256('right') }] },
    { uploads: { [sha256('right')]: Buffer.from('wrong') } },
  )
  t.match(wrong.outcome, { error: { code: 'FILES_UNAVAILABLE', message: /is not/ } })
  const large = Buffer.alloc(33 * MIB)
  const tooMuch = await runIn(
    t,
    { files: [{ path: 'a', upload: sha256(large) }] },
    { uploads: { [sha256(large)]: large } },
  )
  t.match(tooMuch.outcome, { error: { code: 'RESOURCES_REFUSED' } })
})

/** Of this machine, whose libraries the image has as well. */
const GIT = '/usr/bin/git'
const needsGit = { skip: needsDocker.skip || (existsSync(GIT) ? false : `needs ${GIT}`) }

t.test('what has changed in a git checkout comes as a patch and by name', needsGit, async (t) => {
  const git = readFileSync(GIT)
  const before = 'printf "one\\ntwo\\n" >kept; echo gone >gone; printf "\\0\\1\\2" >binary; echo "*.log" >.gitignore'
  const commit = 'git init -q . && git add -A && git -c user.name=n -c user.email=e commit -q -m first'
  const run = (prompt: string, pre = `${before}; ${commit}`) =>
    runIn(
      t,
      {
        prompt,
        hooks: { pre: { script: pre, timeoutMs: 20_000 } },
        env: { PATH: '/workspace/.git-bin:/usr/bin:/bin' },
        files: [{ path: '.git-bin/git', upload: sha256(git), mode: '0755' }],
      },
      { uploads: { [sha256(git)]: git } },
    )
  // What a checkout asks git to run is not run; what the engine commits and stages itself is among it all the same.
  const hostile = [
    'for each in core.fsmonitor diff.external core.hooksPath; do git config $each "touch /output/ran; :"; done',
    'git config diff.x.textconv "touch /output/ran; cat"; echo "* diff=x" >.git/info/attributes',
  ]
  const changing = [
    'echo three >>kept; rm gone; git rm -q --cached gone; printf "\\3\\2\\1\\0" >binary; mkdir -p "d/é"; echo new >"d/é/a file"',
    'echo noise >x.log; git add kept; git -c user.name=n -c user.email=e commit -q -m second',
  ]
  const { result, contents } = await run([...changing, ...hostile].join('\n'))
  t.same(result.changes, {
    count: 4,
    files: [
      { path: 'binary', status: 'modified' },
      { path: 'd/é/a file', status: 'added' },
      { path: 'gone', status: 'deleted' },
      { path: 'kept', status: 'modified' },
    ],
  })
  t.same(Object.keys(contents), ['output/changes.patch'])

  const dir = t.testdir({})
  const shell = (script: string) => spawnSync('/bin/sh', ['-ec', script], { cwd: dir, encoding: 'utf8' })
  t.equal(shell(`${before.replaceAll('; ', '\n')}\nmkdir .git-bin\ncp ${GIT} .git-bin/git\n${commit}`).status, 0)
  writeFileSync(`${dir}/.git/patch`, contents['output/changes.patch'] ?? '')
  t.match(shell('git apply --binary .git/patch'), { status: 0, stderr: '' })
  t.equal(readFileSync(`${dir}/kept`, 'utf8'), 'one\ntwo\nthree\n')
  t.same([...readFileSync(`${dir}/binary`)], [3, 2, 1, 0])
  t.equal(readFileSync(`${dir}/d/é/a file`, 'utf8'), 'new\n')
  t.notOk(existsSync(`${dir}/gone`))

  const same = await run('true')
  t.same(same.result.changes, { count: 0, files: [] })
  t.same(same.contents, {})
  const unborn = await run('echo first >file', 'git init -q .')
  t.match(unborn.result.changes?.files, [{ path: '.git-bin/git' }, { path: 'file', status: 'added' }])
  const none = await run('git init -q . ; echo x >y', 'true')
  t.notOk('changes' in none.result, 'no checkout when the engine began')
})
