/** Everything that is measured, in the order of its columns: a name that ends in its unit, and its heading. */
export const METRICS = {
  perS: 'per second',
  p50Ms: 'p50 ms',
  p99Ms: 'p99 ms',
  overSpawnMs: 'over the bare script, ms',
  spawnRatio: '× bare script',
  floorRatio: '× Docker alone',
  fromAnswerP50Ms: 'from the answer, p50 ms',
  fromAnswerP99Ms: 'p99 ms',
  fromSendP50Ms: 'from the sending, p50 ms',
  fromSendP99Ms: 'p99 ms',
  cpuUs: 'CPU µs each',
  serverCpuUs: 'server CPU µs',
  syncs: 'fsyncs each',
  serverSyncs: 'server fsyncs',
  agentSyncs: 'agent fsyncs',
  memoryMb: 'memory MB',
  cpuPercent: 'CPU % of a core',
  rssMb: 'server RSS MB',
  submitP50Ms: 'submit p50 ms',
  submitP99Ms: 'submit p99 ms',
  wokenPerSubmit: 'woken by a submission',
  commands: 'commands',
  startMb: 'MB at the start',
  warmMb: 'MB after 2,000',
  endMb: 'MB at the end',
  growthMb: 'grown by MB',
} as const

export type Metric = keyof typeof METRICS

export type Values = Partial<Record<Metric, number>>
