#!/usr/bin/env node
/**
 * Checks the model of the hand-over: the quick list, or all of it with --full. Prints a table and exits with 1 on any
 * surprise: a violation where none may be, or a guard whose absence goes unnoticed.
 *
 *   node docs/model/check.mjs [--full] [--only=<part of a name>] [--trail]
 *
 * Needs spin (Debian package `spin`) and gcc. Everything is compiled in a temporary directory.
 */
import { spawnSync } from 'node:child_process'
import { copyFileSync, existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const HOLDS = 'holds'
const MODEL = join(dirname(fileURLToPath(import.meta.url)), 'protocol.pml')

const CALM = 'CRASHES=0 LOSSES=0'
const AUTO = 'AUTO CLOCK ATTEMPTS=2'
const RESTORE = `RESTORE ${CALM}`
const SET_BACK = 'ROLLBACK NP=1 CRASHES=2'
const TWO = 'ROLLBACK NC=2 NP=1 MAXA=1 LOSSES=0'

/**
 * [name, flags, expected]: with a fourth item 'full' for nights only, 'bits' for nights and with bitstate hashing, which
 * may overlook a state. Everything else is exhaustive.
 */
const ROWS = [
  // What must hold.
  ['one-shot, two agents', '', HOLDS],
  ['resumable, two agents', 'KINDS=1', HOLDS],
  ['requests late or twice', 'LATES=1 LOSSES=0', HOLDS],
  ['requests late or twice, lost as well, resumable', 'LATES=1 KINDS=1 NP=1', HOLDS],
  ['retries', 'ATTEMPTS=2', HOLDS],
  ['journal lost', 'WIPE LOSSES=0', HOLDS],
  ['journal set back', SET_BACK, HOLDS],
  ['journal set back, two commands', TWO, HOLDS],
  ['journal set back, two commands, killed again before it registers', `${TWO} CRASHES=2`, HOLDS],
  ['two processes, one agent id', 'DUPID LOSSES=0', HOLDS],
  ['two processes, one agent id, leases with clocks', `DUPID CLOCK ${CALM}`, HOLDS],
  ['machine cloned', `CLONE ${CALM}`, HOLDS],
  ['takeover auto', `${AUTO} ${CALM}`, HOLDS],
  ['takeover auto, two processes of one id', `${AUTO} DUPID ${CALM}`, HOLDS],
  ['server restored, command with a deadline', `${RESTORE} DEADLINE`, HOLDS],
  ['server restored, crash, loss, resumable', 'RESTORE NP=1 KINDS=1', HOLDS],
  ['server restored, retries', 'RESTORE NP=1 ATTEMPTS=2 MAXA=3 LOSSES=0', HOLDS],

  ['every command becomes final', 'LIVE LOSSES=0', HOLDS],
  ['... an agent gone for good', 'LIVE GONE MAXA=3 LOSSES=0', HOLDS],
  ['... retries, takeover, resumable', 'LIVE ATTEMPTS=2 AUTO KINDS=1 NP=1', HOLDS],
  ['... journal set back', 'LIVE ROLLBACK NP=1', HOLDS],
  ['... server restored', 'LIVE RESTORE NP=1', HOLDS],

  // That the runs above get somewhere.
  ['COMPLETED is reached', 'REACH=1', 'reached'],
  ['a refused regrant is reached', `${SET_BACK} REACH=4`, 'reached'],
  ['the end of recovery is reached', `${RESTORE} REACH=5`, 'reached'],
  ['a takeover is reached', `${AUTO} ${CALM} REACH=6`, 'reached'],

  // One guard out at a time.
  ['no grant: start on the offer', `NO_GRANT ${CALM}`, 'R7'],
  ['no fence by attempt', `NO_FENCE ${AUTO} ${CALM}`, 'R5'],
  ['a report may change a final command', `NO_FINAL ${CALM}`, 'R4'],
  ['no intent before the effect', 'NO_INTENT NP=1 LOSSES=0', 'R1'],
  ['agent does not fence itself', `NO_SELF_FENCE ${AUTO} ${CALM}`, 'R6'],
  ['server waits no longer than the agent', `NO_MARGIN ${AUTO} ${CALM}`, 'R6'],
  ['lease counted from the answer', `LEASE_FROM_ANSWER ${AUTO} ${CALM}`, 'R6'],
  ['lease not checked at the start', `NO_START_CHECK ${AUTO} ${CALM}`, 'R6'],
  ['lease not checked at the resumption', `NO_RESUME_CHECK ${AUTO} KINDS=1 LOSSES=0`, 'R6'],
  ['journal forgets on ack', `PRUNE_ON_ACK ${RESTORE}`, 'R3'],
  ['no check of seq', `NO_SEQ LATES=1 NP=1 ${CALM}`, 'false LOST'],
  ['register without compare-and-swap', `NO_CAS DUPID CLOCK ${CALM}`, 'identity'],
  ['the same, journal set back', `NO_CAS ${SET_BACK}`, 'R1'],
  ['regrant without trustedSince', `NO_TRUST ${SET_BACK}`, 'R1'],
  ['regrant of LOST without trustedSince', `NO_TRUST_LOST ${SET_BACK}`, 'R1'],
  ['what recovery writes counts', `COUNT_RECOVERY ${TWO}`, 'R1'],
  ['no new epoch after a restore', `NO_EPOCH ${RESTORE}`, 'R3'],
  ['new epoch, no inventory', `NO_INVENTORY ${RESTORE}`, 'R3'],
  ['answers to earlier requests believed', `NO_ECHO ${SET_BACK} LOSSES=2`, 'R1', 'full'],
  ['LOST is never given up', 'NO_GIVE_UP LIVE GONE LOSSES=0', 'R8'],
  ['sweeper works in recovery', `SWEEP_RECOVERY ${RESTORE}`, 'R3'],
  ['outcomes decide in recovery', `CONCLUDE_RECOVERY RESTORE ${AUTO} ${CALM}`, 'R3'],
  ['accepted offers adopted in recovery', `ADOPT_ACCEPTED RESTORE ${AUTO} ${CALM}`, 'R3', 'full'],
  ['adopted attempts counted as one', 'NO_ADOPT_COUNT RESTORE NP=1 ATTEMPTS=2 MAXA=3 LOSSES=0', 'R7'],

  // Limits: what cannot be promised. The documents name them.
  ['journal set back to between accept and start', 'WINDOW ROLLBACK NP=1', 'R1'],
  ['machine cloned between accept and start', `WINDOW CLONE ${CALM}`, 'R1'],
  ['machine cloned while it runs, retries', `CLONE ATTEMPTS=2 ${CALM}`, 'R6'],
  ['restored to a backup that does not know an agent', `STRANGER ${RESTORE}`, 'R1'],
  ['restored while two processes have one id', `DUPID ${RESTORE}`, 'R7'],

  // Nights.
  ['two crashes, two losses', 'CRASHES=2 LOSSES=2', HOLDS, 'full'],
  ['two crashes, two losses, resumable, retries', 'CRASHES=2 LOSSES=2 KINDS=1 ATTEMPTS=2', HOLDS, 'full'],
  ['requests late or twice, lost as well', 'LATES=1', HOLDS, 'full'],
  ['two commands', `NC=2 KINDS=2 LOSSES=0 CRASHES=1`, HOLDS, 'bits'],
  ['three attempts, retries', 'ATTEMPTS=3 MAXA=3', HOLDS, 'full'],
  ['journal set back, two agents', 'ROLLBACK', HOLDS, 'full'],
  ['journal set back, requests late, retries', `${SET_BACK} ATTEMPTS=2 LATES=1`, HOLDS, 'full'],
  ['two processes, one agent id, loss', 'DUPID', HOLDS, 'full'],
  ['machine cloned, crash', 'CLONE LOSSES=0', HOLDS, 'full'],
  ['takeover auto, resumable, crash', `${AUTO} KINDS=1 LOSSES=0`, HOLDS, 'full'],
  ['takeover auto, loss', `${AUTO} CRASHES=0`, HOLDS, 'full'],
  ['takeover auto, crash and loss', AUTO, HOLDS, 'bits'],
  ['takeover auto, longer lease, heartbeat', `${AUTO} ${CALM} HEARTBEAT LEASE=2`, HOLDS, 'full'],
  ['takeover auto, requests late or twice', `${AUTO} ${CALM} LATES=1`, HOLDS, 'full'],
  ['server restored, requests late or twice', `${RESTORE} LATES=1`, HOLDS, 'full'],
  ['server restored, crash', 'RESTORE LOSSES=0', HOLDS, 'full'],
  ['server restored, retries, two agents', 'RESTORE ATTEMPTS=2 MAXA=3 LOSSES=0', HOLDS, 'bits'],
  ['server restored, takeover auto', `RESTORE ${AUTO} ${CALM}`, HOLDS, 'full'],
  ['... crash and loss', 'LIVE', HOLDS, 'full'],
  ['... server restored, two agents', `LIVE ${RESTORE}`, HOLDS, 'full'],
  ['... crash, loss, agent gone for good', 'LIVE GONE MAXA=3 CRASHES=2', HOLDS, 'full'],
  ['... server restored, crash', 'LIVE RESTORE LOSSES=0', HOLDS, 'full'],
]

/** Which property an assertion of the model belongs to. */
const PROPERTIES = [
  [/acceptance cycle/, 'R8'],
  [/starts\[/, 'R1'],
  [/tried\[/, 'R7'],
  [/acknowledged\[|decidedBy\[/, 'R3'],
  [/newest\[/, 'R5'],
  [/runs\[/, 'R6'],
  [/phase\[.*>=4/, 'R4'],
  [/entry\[/, 'false LOST'],
  [/registered\[/, 'identity'],
  [/!=\d\)?\)? *\(at/, 'reached'],
]

const options = new Set(process.argv.slice(2))
const only = [...options].find((option) => option.startsWith('--only='))?.slice('--only='.length)
const unknown = [...options].filter((option) => !/^--(full|trail|only=.+)$/.test(option))
if (unknown.length > 0) fail(`unknown: ${unknown.join(' ')}`)
for (const tool of ['spin', 'gcc'])
  if (!(process.env.PATH ?? '').split(delimiter).some((folder) => folder !== '' && existsSync(join(folder, tool))))
    fail(`${tool} is not on the PATH (Debian: apt-get install ${tool})`)

const rows = ROWS.filter(([name, flags, , list]) =>
  only === undefined ? list === undefined || options.has('--full') : `${name} ${flags}`.includes(only),
)
if (rows.length === 0) fail(`no row has ${only}`)

const dir = mkdtempSync(join(tmpdir(), 'model-'))
const beganMs = Date.now()
let states = 0
let surprises = 0
try {
  copyFileSync(MODEL, join(dir, 'protocol.pml'))
  print('| configuration | flags | search | expected | found | states | seconds | |')
  print('|---|---|---|---|---|---:|---:|---|')
  for (const row of rows) {
    const result = check(row)
    const ok = result.found === row[2]
    if (!ok) surprises += 1
    states += result.states
    const cells = [row[0], `\`${row[1] || '-'}\``, result.search, row[2], result.found]
    print(`| ${cells.join(' | ')} | ${result.states} | ${result.seconds.toFixed(1)} | ${ok ? 'ok' : 'SURPRISE'} |`)
    if (!ok && result.output !== '') process.stderr.write(`${result.output}\n`)
    if (options.has('--trail') && result.trail !== '') print(`\n${result.trail}\n`)
  }
} finally {
  rmSync(dir, { recursive: true, force: true })
}
print(
  `\n${rows.length} rows, ${states} states, ${((Date.now() - beganMs) / 1000).toFixed(0)} s, ${surprises} surprises`,
)
process.exit(surprises === 0 ? 0 : 1)

function check([name, flags, expected, list]) {
  const defines = flags
    .split(' ')
    .filter((flag) => flag !== '')
    .map((flag) => `-D${flag}`)
  const live = defines.includes('-DLIVE')
  const bits = list === 'bits'
  // A short search is not worth an optimised compilation.
  const optimise = expected === HOLDS || list !== undefined ? '-O1' : '-O0'
  const store = bits ? ['-DBITSTATE'] : ['-DCOLLAPSE', `-DMEMLIM=${list === undefined ? 2000 : 12_000}`]
  const mode = live ? ['-DNFAIR=3', '-DNOREDUCE'] : ['-DSAFETY']
  const search = bits ? ['-w33', '-k3'] : [list === undefined ? '-w22' : '-w26']

  run('spin', [...defines, '-a', 'protocol.pml'], name)
  run('gcc', [optimise, '-w', '-DVECTORSZ=2048', ...mode, ...store, '-o', 'pan', 'pan.c'], name)
  const began = Date.now()
  const pan = spawnSync('./pan', ['-m1000000', ...search, ...(live ? ['-a', '-f'] : ['-E'])], {
    cwd: dir,
    encoding: 'utf8',
  })
  const output = `${pan.stdout}${pan.stderr}`
  const error = /^pan:1: (.*)$/m.exec(output)?.[1]
  const whole =
    / errors: 0$/m.test(output) &&
    !/^error:|max search depth too small|out of memory|Search not completed/m.test(output)
  const trail = error === undefined ? '' : story(defines)
  const property = error === undefined ? undefined : (PROPERTIES.find(([pattern]) => pattern.test(error))?.[1] ?? error)
  return {
    found: property ?? (whole ? HOLDS : 'incomplete'),
    search: bits ? 'bitstate' : 'exhaustive',
    states: Number(/([\d.e+]+) states, stored/.exec(output)?.[1] ?? 0),
    seconds: (Date.now() - began) / 1000,
    output: error === undefined ? output : `${error}\n${trail}`,
    trail,
  }
}

/** The counter-example in words, without the steps that changed nothing. */
function story(defines) {
  const told = spawnSync('spin', ['-t', '-B', ...defines, 'protocol.pml'], { cwd: dir, encoding: 'utf8' }).stdout
  return told
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => /^(agent|server|the server|backup|snapshot|journal|clone|tick)/.test(line))
    .filter(
      (line) =>
        !/offers 0, grants 0, acks 0, drop 0|accepted 0, running 0, named 0, finished 0, interrupted 0/.test(line),
    )
    .filter((line, index, lines) => line !== lines[index - 1])
    .map((line) => `    ${line}`)
    .join('\n')
}

function run(command, args, name) {
  const { status, stdout, stderr } = spawnSync(command, args, { cwd: dir, encoding: 'utf8' })
  if (status !== 0) fail(`${name}: ${command} ${args.join(' ')}\n${stdout}${stderr}`)
}

function print(line) {
  process.stdout.write(`${line}\n`)
}

function fail(message) {
  process.stderr.write(`check.mjs: ${message}\n`)
  process.exit(2)
}
