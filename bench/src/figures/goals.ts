/** The goals for speed, each with how it is read from a run. Ratios hold within one run only. */
import type { Metric } from './metrics.ts'
import type { Lookup } from './results.ts'
import { FULL } from './scale.ts'
import {
  growthVariant,
  idleVariant,
  inFlightVariant,
  type Kind,
  PRODUCT,
  READS,
  readVariant,
  WAIT,
  workersVariant,
} from './variants.ts'

export type Goal = {
  goal: string
  wanted: { atLeast: number } | { atMost: number }
  unit: string
  measured: (look: Lookup) => number | undefined
}

const ratio = (a: number | undefined, b: number | undefined): number | undefined =>
  a === undefined || b === undefined ? undefined : a / b

/** The greatest; undefined where one of them was not measured. */
const worst = (values: readonly (number | undefined)[]): number | undefined => {
  const numbers = values.filter((value) => value !== undefined)
  return numbers.length === values.length ? Math.max(...numbers) : undefined
}

const ONE_WORKER = workersVariant('DELAY', 1, 50)
const endToEnd =
  (metric: Metric, subject = PRODUCT, variant = ONE_WORKER) =>
  (look: Lookup) =>
    look('end-to-end', subject, variant, metric)

const throughputAgainst =
  (peer: string) =>
  (look: Lookup): number | undefined =>
    ratio(endToEnd('perS')(look), endToEnd('perS', peer)(look))

const withAgents =
  (agents: number) =>
  (look: Lookup): number | undefined =>
    ratio(endToEnd('perS', PRODUCT, workersVariant('DELAY', agents, 50))(look), endToEnd('perS')(look))

const smallest = Math.min(...FULL.sizes)
const largest = Math.max(...FULL.sizes)
const grownBy =
  (kind: Kind, slots: number) =>
  (look: Lookup): number | undefined => {
    const cpuUs = (size: number) => look('growth', PRODUCT, growthVariant(kind, size, slots), 'cpuUs')
    return ratio(cpuUs(largest), cpuUs(smallest))
  }

const idle = (metric: Metric) => (look: Lookup) => look('idle-agents', PRODUCT, idleVariant(FULL.idleAgents), metric)
const pickUp = (metric: Metric) => (look: Lookup) => look('pick-up', PRODUCT, '', metric)

export const GOALS: readonly Goal[] = [
  { goal: 'end to end against plainjob', wanted: { atLeast: 5 }, unit: '×', measured: throughputAgainst('plainjob') },
  { goal: 'end to end against BullMQ', wanted: { atLeast: 1.5 }, unit: '×', measured: throughputAgainst('BullMQ') },
  {
    goal: 'submit against BullMQ, 50 in flight',
    wanted: { atLeast: 1.2 },
    unit: '×',
    measured: (look) =>
      ratio(
        look('submit', PRODUCT, inFlightVariant(50), 'perS'),
        look('submit', 'BullMQ', inFlightVariant(50), 'perS'),
      ),
  },
  { goal: 'server CPU a command, end to end', wanted: { atMost: 150 }, unit: 'µs', measured: endToEnd('serverCpuUs') },
  {
    goal: 'server fsyncs a command, end to end',
    wanted: { atMost: 0.15 },
    unit: '',
    measured: endToEnd('serverSyncs'),
  },
  { goal: 'agent fsyncs a command, end to end', wanted: { atMost: 0.15 }, unit: '', measured: endToEnd('agentSyncs') },
  {
    goal: 'idle pick-up after the answer, p50',
    wanted: { atMost: 10 },
    unit: 'ms',
    measured: pickUp('fromAnswerP50Ms'),
  },
  {
    goal: 'idle pick-up after the answer, p99',
    wanted: { atMost: 50 },
    unit: 'ms',
    measured: pickUp('fromAnswerP99Ms'),
  },
  {
    goal: 'CPU of a hand-over, 1,000,000 finished against 1,000',
    wanted: { atMost: 1.2 },
    unit: '×',
    measured: (look) => worst([1, 50].map((slots) => grownBy('finished', slots)(look))),
  },
  {
    goal: 'CPU of a hand-over, 1,000,000 pending against 1,000',
    wanted: { atMost: 1.2 },
    unit: '×',
    measured: (look) => worst([1, 50].map((slots) => grownBy('pending', slots)(look))),
  },
  { goal: '10,000 idle agents: server RSS', wanted: { atMost: 250 }, unit: 'MB', measured: idle('rssMb') },
  { goal: '10,000 idle agents: server CPU', wanted: { atMost: 5 }, unit: '% of a core', measured: idle('cpuPercent') },
  { goal: '10,000 idle agents: submit p99', wanted: { atMost: 50 }, unit: 'ms', measured: idle('submitP99Ms') },
  { goal: 'throughput of 2 agents against 1', wanted: { atLeast: 1 }, unit: '×', measured: withAgents(2) },
  { goal: 'throughput of 4 agents against 1', wanted: { atLeast: 1 }, unit: '×', measured: withAgents(4) },
  {
    goal: 'slowest of list, get and wait at 1,000,000 commands, p99',
    wanted: { atMost: 20 },
    unit: 'ms',
    measured: (look) =>
      worst([...READS, WAIT].map((what) => look('reads', PRODUCT, readVariant(what, largest), 'p99Ms'))),
  },
  {
    goal: 'server RSS after 1,000,000 commands against its start',
    wanted: { atMost: 50 },
    unit: 'MB',
    measured: (look) => {
      const commands = look('endurance', PRODUCT, '', 'commands') ?? 0
      return commands >= FULL.enduranceCommands ? look('endurance', PRODUCT, '', 'growthMb') : undefined
    },
  },
]

/** In words: met, missed and by which factor, or not measured. */
export const verdict = ({ wanted }: Goal, measured: number | undefined): string => {
  if (measured === undefined) return 'not measured'
  const missedBy = 'atLeast' in wanted ? wanted.atLeast / measured : measured / wanted.atMost
  return missedBy <= 1 ? 'met' : `missed by a factor of ${missedBy.toFixed(2)}`
}

export const wantedText = ({ wanted, unit }: Goal): string =>
  `${'atLeast' in wanted ? `≥ ${wanted.atLeast}` : `≤ ${wanted.atMost}`} ${unit}`.trim()
