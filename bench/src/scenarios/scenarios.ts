import { drain } from './drain.ts'
import { endToEnd } from './end-to-end.ts'
import { endurance } from './endurance.ts'
import { growth } from './growth.ts'
import { idleAgents } from './idle-agents.ts'
import { pickUp } from './pick-up.ts'
import { reads } from './reads.ts'
import { runAgent } from './run-agent.ts'
import type { Scenario } from './scenario.ts'
import { submit } from './submit.ts'

/** In the order of the report. */
export const scenarios: readonly Scenario[] = [
  endToEnd,
  submit,
  drain,
  pickUp,
  runAgent,
  growth,
  reads,
  idleAgents,
  endurance,
]
