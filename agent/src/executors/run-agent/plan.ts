/** What an attempt would run, to the letter, for a command that asks for nothing more. Pure. */
import {
  ARTIFACT_PATTERNS_DEFAULT,
  type JsonValue,
  type RunAgentPayload,
  type RunAgentPlan,
} from '@agent-executor/protocol'
import type { createOptions } from '../../docker/create-options.ts'
import { entryScript } from './input.ts'

export function planOf(
  payload: RunAgentPayload & { endsAfterMs: number },
  made: ReturnType<typeof createOptions>,
  { image, imagePresent, env }: { image: string; imagePresent: boolean; env: readonly string[] },
): RunAgentPlan {
  const ofContainer = (made.Env ?? []).map((each) => each.slice(0, each.indexOf('=')))
  return {
    dryRun: true,
    engine: payload.engine,
    image,
    imagePresent,
    createOptions: { ...made, Env: ofContainer } as unknown as JsonValue,
    script: entryScript(payload),
    // With [secret] for every secret.
    prompt: payload.prompt,
    files: (payload.files ?? []).map(({ path, content, contentBase64 = '', upload, mode = '0644' }) =>
      upload === undefined
        ? { path, mode, bytes: Buffer.byteLength(content ?? contentBase64, content === undefined ? 'base64' : 'utf8') }
        : { path, mode, bytes: null, upload },
    ),
    artifacts: [...(payload.artifacts ?? ARTIFACT_PATTERNS_DEFAULT)],
    env: [...new Set([...ofContainer, ...env])],
    hooks: payload.hooks ?? {},
  }
}
