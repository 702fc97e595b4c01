/** Whether a run may go on with the conversation of another one. Pure. */
import {
  type ApiErrorCode,
  capabilitiesOf,
  type EngineDefinition,
  type RunAgentPayload,
} from '@agent-executor/protocol'
import type { Command } from './command.ts'
import { meaningless } from './submission.ts'

/** From a sandbox: nothing that an engine could take for a flag or a path. */
const SESSION_ID = /^[A-Za-z0-9][A-Za-z0-9_-]{0,199}$/

type Resumed =
  | { ok: true; resume: NonNullable<RunAgentPayload['resume']> }
  | { ok: false; code: ApiErrorCode; message: string }

const refused = (message: string, code: ApiErrorCode = 'NOT_RESUMABLE'): Resumed => ({ ok: false, code, message })

/** `command` is the one whose conversation is to go on; undefined where there is none. */
export function resumed(engine: EngineDefinition, command: Command | undefined): Resumed {
  if (!capabilitiesOf(engine).resume) return refused(meaningless(engine, 'resume'), 'INVALID_REQUEST')
  if (command === undefined || command.type !== 'RUN_AGENT') return refused('names no command of RUN_AGENT')
  if (command.finishedAtMs === null) return refused('names a command that is not over')
  const payload = (command.spec.payload ?? {}) as { engine?: unknown }
  if (payload.engine !== engine.name) return refused(`names a command of another engine, not of ${engine.name}`)
  // Whatever an agent has reported.
  const { sessionId } = (command.result ?? {}) as { sessionId?: unknown }
  return typeof sessionId === 'string' && SESSION_ID.test(sessionId)
    ? { ok: true, resume: { commandId: command.commandId, sessionId } }
    : refused('names a command that has left no conversation')
}
