/** How much is measured: every number that makes a run longer or shorter. */
export type Scale = typeof FULL

export const FULL = {
  name: 'full',
  rounds: 3,
  /** Until the code of the processes is compiled for speed. */
  warmUpMs: 3_000,
  sampleMs: 2_000,
  slots: [1, 10, 50],
  agents: [1, 2, 4],
  pings: 50,
  containers: 30,
  pauseMsMax: 100,
  /** Of a drain: what is worked off too fast is not seen. */
  backlogMin: 4_000,
  sizes: [1_000, 10_000, 100_000, 1_000_000],
  growthSlots: [1, 50],
  growthMs: 1_000,
  readMs: 1_500,
  idleAgents: 10_000,
  idleMs: 8_000,
  enduranceCommands: 1_000_000,
  enduranceMs: 480_000,
}

export const QUICK: Scale = {
  name: 'quick',
  rounds: 1,
  warmUpMs: 400,
  sampleMs: 500,
  slots: [50],
  agents: [1, 2],
  pings: 20,
  containers: 5,
  pauseMsMax: 60,
  backlogMin: 600,
  sizes: [1_000, 10_000],
  growthSlots: [50],
  growthMs: 400,
  readMs: 300,
  idleAgents: 500,
  idleMs: 2_000,
  enduranceCommands: 2_000,
  enduranceMs: 8_000,
}
