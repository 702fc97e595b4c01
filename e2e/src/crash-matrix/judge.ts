/** What was seen against what was promised: how the cell ended, in a word, and a sentence for each promise it broke. */
import { isDeepStrictEqual } from 'node:util'
import { lifecycleDiagram } from '@agent-executor/control-server/lifecycle/diagram'
import type { CommandView } from '../api.ts'
import type { Exchange } from '../faulty-proxy.ts'
import { type Cell, type Ending, LEASE_MS, SYNC_TELLS, TYPES } from './cells.ts'
import type { Event, Observed } from './run-cell.ts'

export type Verdict = {
  /** How it ended, with the attempt that ended it where that is not the first. */
  outcome: string
  violations: string[]
  /** Effects beyond one an attempt, and attempts at the same time. */
  duplicates: number
  /** Acknowledged outcomes that are gone or different. */
  lost: number
  /** Ended with no name, or with none that the cell allows. */
  unnamed: number
  /** Whether the crash or fault did happen, and how long after it the command was final; null where it was before. */
  happened: boolean
  recoveryMs: number | null
  /**
   * It says nothing, because the machine was too slow: nothing is broken but the expectation, and a lease may have ended;
   * or the crash came in another sync than the cell is about.
   */
  tooSlow: boolean
}

/** An agent that waits so long for an answer, or for its own timer, may come to the end of its lease. */
const SLOW_MS = LEASE_MS / 5
/** A container takes as long as that to begin and end where all is well. */
const slowMs = ({ type }: Cell): number => (type === 'RUN_AGENT' ? 2 * LEASE_MS : SLOW_MS)

type Ack = { attempt: number; state: string; result: unknown }

/** The edges of the real state machine: `from>to`. */
const EDGES = new Set(
  [...lifecycleDiagram().matchAll(/(\w+|\[\*\]) --> (\w+): /g)].map(
    ([, from, to]) => `${from === '[*]' ? null : from}>${to}`,
  ),
)

export function judge(cell: Cell, seen: Observed): Verdict {
  const command = seen.last ?? seen.first
  const ending = endingOf(command)
  const effects = effectsOf(cell, seen)
  const duplicates = duplicatesOf(cell, seen)
  const lost = [
    ...acksOf(command?.commandId ?? '', seen.exchanges).flatMap((ack) => lostAck(ack, command)),
    ...seen.gone.map((commandId) => `an acknowledged submission is gone: ${commandId}`),
    ...(seen.first !== null && seen.last !== null && !isDeepStrictEqual(seen.first, seen.last)
      ? [`what was final has changed: ${JSON.stringify(seen.first)}`]
      : []),
  ]
  const [least, most] = cell.expected.effects
  const unnamed = [
    ...(seen.problem === null ? [] : [seen.problem]),
    ...(ending === cell.expected.ending ? [] : [`ended as ${ending}, expected ${cell.expected.ending}`]),
    ...(effects >= least && effects <= most ? [] : [`${effects} attempts had an effect, expected ${least} to ${most}`]),
  ]
  const broken = [
    ...duplicates,
    ...lost,
    ...historyProblems(command, seen.events),
    ...staleProblems(cell, seen.exchanges),
  ]
  const slow =
    seen.exchanges.some(({ message, tookMs }) => message !== 'wait' && (tookMs ?? 0) > SLOW_MS) ||
    seen.runs.some(({ fromMs, toMs }) => Number.isFinite(toMs) && toMs - fromMs > cell.effectMs + slowMs(cell))
  return {
    outcome: outcomeOf(ending, command),
    violations: [...(seen.causedMs === null ? ['the crash or fault did not happen'] : []), ...broken, ...unnamed],
    duplicates: duplicates.length,
    lost: lost.length,
    unnamed: unnamed.length,
    happened: seen.causedMs !== null,
    recoveryMs: recoveryMs(seen),
    // Where nothing was provoked, nothing was shown either.
    tooSlow:
      broken.length === 0 &&
      (((slow || seen.causedMs === null) && unnamed.length > 0) || cameElsewhere(cell, command, seen)),
  }
}

/** Whether the sync in which the server died told something else of the command than that one does by its number. */
function cameElsewhere({ cause }: Cell, command: CommandView | null, { exchanges }: Observed): boolean {
  const [, hit] = cause.kind === 'crash' && cause.in === 'server' ? (/^sync\..*:(\d)$/.exec(cause.point) ?? []) : []
  const fatal = exchanges.find(({ message, status }) => message === 'sync' && status === null)
  if (hit === undefined || command === null || fatal === undefined) return false
  const { held } = JSON.parse(fatal.request) as { held: { attemptId: string; phase: string }[] }
  const phase = held.find(({ attemptId }) => attemptId.startsWith(`${command.commandId}.`))?.phase ?? null
  return phase !== SYNC_TELLS[Number(hit) - 1]
}

/** By the clock of the server, which is the one of this machine. */
const recoveryMs = ({ causedMs, first }: Observed): number | null => {
  const finishedAt = first?.finishedAt
  const tookMs = causedMs === null || !finishedAt ? -1 : Date.parse(finishedAt) - causedMs
  return tookMs < 0 ? null : tookMs
}

const endingOf = (command: CommandView | null): Ending | 'unfinished' | (string & {}) =>
  command === null ? 'unfinished' : command.status === 'FAILED' ? (command.error?.code ?? 'unnamed') : command.status

/** Attempts whose effect began: at the target or in Docker for what comes there, by their logs for the rest. */
const effectsOf = ({ type }: Cell, { visits, runs }: Observed): number =>
  new Set((type === 'DELAY' ? runs : visits).map(({ attempt }) => attempt)).size

function duplicatesOf({ type }: Cell, { visits, runs, last }: Observed): string[] {
  const problems: string[] = []
  const granted = (last?.attempts ?? []).filter(({ grantedAt }) => grantedAt !== null).length
  const mayResume = TYPES[type].afterCrash !== 'in doubt'
  const times = (attempt: number) => visits.filter((visit) => visit.attempt === attempt).length
  for (const attempt of new Set(visits.map((visit) => visit.attempt)))
    if (times(attempt) > 1) problems.push(`attempt ${attempt} had its effect ${times(attempt)} times`)
  if (last !== null && new Set(runs.map(({ attempt }) => attempt)).size > granted)
    problems.push(`more attempts were begun than the ${granted} granted`)
  for (const [index, one] of runs.entries())
    for (const another of runs.slice(index + 1)) {
      const same = one.attempt === another.attempt
      if (same && !(mayResume && one.agentId === another.agentId))
        problems.push(`attempt ${one.attempt} was begun twice`)
      if (overlap(one, another)) problems.push(`attempts ${one.attempt} and ${another.attempt} ran at the same time`)
    }
  for (const [index, one] of visits.entries())
    for (const another of visits.slice(index + 1))
      if (overlap(one, another)) problems.push('two effects were under way at the same time')
  return problems
}

type Interval = { fromMs: number; toMs: number }
const overlap = (one: Interval, another: Interval): boolean => one.fromMs < another.toMs && another.fromMs < one.toMs

/** Outcomes that a worker was told are stored. */
const acksOf = (commandId: string, exchanges: readonly Exchange[]): Ack[] =>
  exchanges.flatMap(({ message, path, request, status, response }): Ack[] => {
    if (status !== 200) return []
    if (message === 'result' && path === `/commands/${commandId}/result`)
      return [{ attempt: 0, state: 'SUCCEEDED', result: (JSON.parse(request) as { result: unknown }).result }]
    if (message !== 'sync') return []
    const { held } = JSON.parse(request) as {
      held: { attemptId: string; outcome?: { state: string; result?: unknown } }[]
    }
    const { acks } = JSON.parse(response) as { acks: { attemptId: string; verdict: string }[] }
    return acks.flatMap(({ attemptId, verdict }): Ack[] => {
      const outcome = held.find((item) => item.attemptId === attemptId)?.outcome
      const stored = verdict === 'accepted' || verdict === 'duplicate'
      if (!attemptId.startsWith(`${commandId}.`) || !stored || outcome === undefined) return []
      return [{ attempt: Number(attemptId.slice(commandId.length + 1)), state: outcome.state, result: outcome.result }]
    })
  })

function lostAck({ attempt, state, result }: Ack, command: CommandView | null): string[] {
  const known = attempt === 0 ? command?.attempts.at(-1) : command?.attempts.find((each) => each.attempt === attempt)
  if (known?.state !== state) return [`an acknowledged ${state} is ${known?.state ?? 'gone'}`]
  if (state === 'SUCCEEDED' && (command?.status !== 'COMPLETED' || !isDeepStrictEqual(command.result, result)))
    return [`an acknowledged result is not the one that is read: ${JSON.stringify(result)}`]
  return []
}

/** The events must be a path of the state machine, and the attempts a row without gaps of which only the last is open. */
function historyProblems(command: CommandView | null, events: readonly Event[]): string[] {
  if (command === null || events.length === 0) return command === null ? [] : ['there are no events']
  const problems: string[] = []
  for (const [index, { seq, from, to, type }] of events.entries()) {
    const before = events[index - 1]
    if (from !== (before?.to ?? null)) problems.push(`event ${type} goes from ${from}, but ${before?.to} was before it`)
    if (before !== undefined && seq <= before.seq) problems.push(`event ${type} has seq ${seq} after ${before.seq}`)
    if (from !== to && !EDGES.has(`${from}>${to}`))
      problems.push(`event ${type} goes from ${from} to ${to}: no such way`)
  }
  if (events.at(-1)?.to !== command.status) problems.push(`the last event says ${events.at(-1)?.to}`)
  for (const [index, { attempt, state }] of command.attempts.entries()) {
    if (attempt !== index + 1) problems.push(`attempt ${attempt} has place ${index + 1}`)
    const open = state === 'OFFERED' || state === 'RUNNING' || (state === 'LOST' && command.error?.code !== 'LOST')
    if (open) problems.push(`attempt ${attempt} is still ${state}`)
  }
  return problems
}

/** An old register or sync that comes after a newer one is refused, not obeyed. */
function staleProblems({ cause }: Cell, exchanges: readonly Exchange[]): string[] {
  if (cause.kind !== 'proxy' || cause.misbehaviour.fault !== 'reordered') return []
  const { message } = cause.misbehaviour
  if (message !== 'register' && message !== 'sync') return []
  const refused = exchanges.some((each) => each.message === message && each.status === 409)
  return refused ? [] : [`the old ${message} was not refused`]
}

const outcomeOf = (ending: string, command: CommandView | null): string => {
  const newest = command?.attempts.at(-1)
  const who = newest?.agentId.startsWith('other') ? ', other agent' : ''
  return (newest?.attempt ?? 1) > 1 ? `${ending} #${newest?.attempt}${who}` : ending + who
}
