/**
 * The shell that runs hooks around an engine, and what it says in the end. It is the parent of both, forwards SIGTERM,
 * ends everything else at SIGUSR2, and ends with the engine's exit code where that is not 0. Needs `sleep` of the image;
 * with `setsid` what a late hook has begun ends with it. Pure.
 */
import { HOOK_NAMES, type HookEnd, type HookName } from '@agent-executor/protocol'

/** The engine has done its work, and a hook failed. */
export const HOOK_FAILED_EXIT_CODE = 123
export const STOPPED_EXIT_CODE = 143

/** `hooks` is the folder that they are in. */
export const supervisor = (hooks: string): string[] => [
  'engine= failed= stopped= late= woken= hurry= ended= child= target= base=',
  'JOB_EXIT_CODE= JOB_REASON= JOB_HOOK=; export JOB_EXIT_CODE JOB_REASON JOB_HOOK',
  'apart=; if command -v setsid >/dev/null 2>&1; then apart=setsid; fi',
  'forward() { if [ -n "$stopped" ] && [ -n "$child" ]; then kill -s TERM -- "$target" 2>/dev/null; fi; }',
  `trap 'stopped=1 woken=1; forward' TERM`,
  `trap 'late=1 woken=1' USR1`,
  // The grace is over: everything but this shell and its parent ends, and what is there is packed.
  `trap 'stopped=1 woken=1 hurry=1; end_others' USR2`,
  // Under the init of a container, and nowhere else.
  'end_others() { if [ "$PPID" = 1 ]; then kill -s KILL -- -1 2>/dev/null; fi; }',
  // A signal ends the first `wait`, and the child may go on; 127 is that of a child that has been waited for. What a shell
  // says of a signal that ended a child is not the engine's.
  'await() {',
  '  wait "$child" 2>/dev/null; code=$?',
  '  while [ -n "$woken" ]; do woken=; wait "$child" 2>/dev/null; again=$?; if [ $again != 127 ]; then code=$again; fi; done',
  '  child=',
  '}',
  'why() {',
  '  if [ -n "$stopped" ]; then JOB_REASON=stopped',
  '  elif [ -n "$failed" ]; then JOB_REASON=hookFailed',
  '  elif [ -n "$engine" ] && [ "$engine" -gt 128 ]; then JOB_REASON=signal',
  '  else JOB_REASON=exited; fi',
  '}',
  'late_after() {',
  '  sleep "$1"; kill -s USR1 $$; kill -s TERM -- "$target"; sleep 2; kill -s KILL -- "$target"',
  '}',
  'hook() {',
  '  if [ -n "$hurry" ]; then return 0; fi',
  '  JOB_HOOK=$1 late= woken=',
  // On a line of their own, whatever was written before.
  `  printf '\\nagent-executor: hook %s\\n' "$1"; printf '\\nagent-executor: hook %s\\n' "$1" >&2`,
  `  $apart /bin/sh ${hooks}/$1 </dev/null &`,
  '  child=$! target=$!; if [ -n "$apart" ]; then target=-$child; fi',
  '  late_after "$2" </dev/null >/dev/null 2>&1 &',
  '  watch=$!',
  '  await',
  '  kill -s KILL $watch 2>/dev/null; wait $watch 2>/dev/null',
  '  JOB_HOOK=',
  '  if [ -n "$late" ]; then kill -s KILL -- "$target" 2>/dev/null; ended="$ended $1=late"; return 1; fi',
  '  ended="$ended $1=$code"; return $code',
  '}',
]

type Ended = { hooks: HookEnd[]; engine: number | null }

/** What the supervisor said last, from the end of standard error; null where it did not get to it. */
export function endedFrom(lastWords: string): Ended | null {
  // What the engine has left running may write after it.
  const said = [...lastWords.matchAll(ENDED)].at(-1)?.[1]
  if (said === undefined) return null
  const ends = said
    .split(' ')
    .filter(Boolean)
    .map((part) => part.split('=') as [string, string])
  return {
    hooks: ends.flatMap(([name, code]) =>
      isHook(name) ? [{ hook: name, exitCode: code === 'late' ? null : Number(code) }] : [],
    ),
    engine: ends.flatMap(([name, code]) => (name === 'engine' ? [Number(code)] : []))[0] ?? null,
  }
}

const ENDED = /^agent-executor: ended((?: [A-Za-z]+=(?:\d{1,3}|late))*)$/gm

const isHook = (name: string): name is HookName => (HOOK_NAMES as readonly string[]).includes(name)
