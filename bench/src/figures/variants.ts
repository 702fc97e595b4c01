/** What figures are called: a scenario records under these names, goals and charts look there. */

export const PRODUCT = 'Agent Executor'

export type Kind = 'finished' | 'pending'

const counted = (count: number, one: string): string => `${count.toLocaleString('en')} ${one}${count === 1 ? '' : 's'}`

export const inFlightVariant = (inFlight: number): string => `${inFlight} in flight`

export const slotsVariant = (slots: number): string => counted(slots, 'slot')

export const workersVariant = (type: string, workers: number, slots: number): string =>
  `${type}, ${counted(workers, 'worker')}, ${counted(slots, 'slot')}`

export const growthVariant = (kind: Kind, size: number, slots: number): string =>
  `${size.toLocaleString('en')} ${kind}, ${counted(slots, 'slot')}`

export const READS = [
  'one by id',
  'newest 50',
  '50 from the middle',
  'status that all have',
  'status that none has',
  'type that all have',
  'type that few have',
  'agent that ran all',
  'agent that ran none',
] as const

export const WAIT = 'wait'

export const readVariant = (what: string, size: number): string => `${what}, ${counted(size, 'command')}`

export const idleVariant = (agents: number): string => counted(agents, 'agent')
