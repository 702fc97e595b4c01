/** What a command would run, for one that asks for no more. Nothing is made and nothing logged: a later life answers the same. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { JsonValue, RunAgentPayload } from '@agent-executor/protocol'
import { type Docker, DockerRefused, DockerUnavailable } from '../../docker/docker.ts'
import type { Ending, Work } from '../executor.ts'
import { failed } from '../failure.ts'
import { hasWayOut } from './engine-call.ts'
import { planOf } from './plan.ts'
import { prepare, scripted, type Terms } from './prepare.ts'

/** Stands where the folder of a session would be, which only a run has. */
const NO_SESSION = '/run/agent-executor/sessions/dry-run-0'

const RETRY_MS = 500

/** Null: it was asked to stop before Docker had answered. */
export async function dryRun(
  terms: Terms & { docker: Docker; patienceMs: number },
  work: Work<RunAgentPayload>,
  env: readonly string[],
  signal: AbortSignal,
): Promise<Ending | null> {
  const prepared = prepare(terms, work, hasWayOut(work.payload) ? NO_SESSION : null)
  if ('code' in prepared) return failed(prepared)
  const { made, image } = prepared
  const giveUpAtMs = performance.now() + terms.patienceMs
  for (;;) {
    if (signal.aborted) return null
    try {
      const imagePresent = (await terms.docker.imageId(image)) !== null
      return {
        ok: true,
        result: planOf(scripted(terms, work), made, { image, imagePresent, env }) as unknown as JsonValue,
      }
    } catch (error) {
      if (!(error instanceof DockerUnavailable || error instanceof DockerRefused)) throw error
      if (performance.now() > giveUpAtMs) return failed({ code: 'DOCKER_UNAVAILABLE', message: error.message })
      await sleep(RETRY_MS, undefined, { signal }).catch(() => {})
    }
  }
}
