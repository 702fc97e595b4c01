/** What a command brings that is on the server: its uploads, and the conversation that goes on. */
import type { FailureCode, RunAgentPayload } from '@agent-executor/protocol'
import type { Inputs } from '../../files/inputs.ts'
import { SESSION_INPUT, type UploadedFile } from './input.ts'

/** Where the conversation of a command is. */
export type Conversations = {
  /** `none`: the server does not have it, and will not. Rejects where nothing is known. */
  find: (commandId: string, signal: AbortSignal) => Promise<{ type: 'found'; sha256: string } | { type: 'none' }>
}

export type Brought =
  | { type: 'brought'; files: UploadedFile[] }
  /** Asked to stop meanwhile. */
  | { type: 'stopped' }
  | { type: 'failed'; code: FailureCode; message: string }

export async function broughtBy(
  payload: Pick<RunAgentPayload, 'files' | 'resume'>,
  options: {
    attemptId: string
    inputs: Pick<Inputs, 'fetch' | 'content'>
    conversations: Conversations
    workspaceBytes: number
    signal: AbortSignal
  },
): Promise<Brought> {
  const { attemptId, inputs, workspaceBytes, signal } = options
  const wanted: { path: string; sha256: string; mode?: '0644' | '0755' }[] = (payload.files ?? []).flatMap(
    ({ path, mode, upload }) =>
      upload === undefined ? [] : [{ path: `files/${path}`, sha256: upload, ...(mode === undefined ? {} : { mode }) }],
  )
  if (payload.resume !== undefined) {
    const { commandId } = payload.resume
    const found = await options.conversations.find(commandId, signal)
    if (signal.aborted) return { type: 'stopped' }
    if (found.type === 'none')
      return { type: 'failed', code: 'FILES_UNAVAILABLE', message: `The conversation of ${commandId} is not there.` }
    wanted.push({ path: SESSION_INPUT, sha256: found.sha256 })
  }
  if (wanted.length === 0) return { type: 'brought', files: [] }
  const sha256s = wanted.map(({ sha256 }) => sha256)
  const got = await inputs.fetch(attemptId, sha256s, signal)
  if (got.type === 'stopped') return got
  if (got.type === 'failed') return { type: 'failed', code: 'FILES_UNAVAILABLE', message: got.message }
  const files = wanted.map(({ sha256, ...file }) => ({
    ...{ ...file, bytes: got.bytes[sha256] ?? 0, content: () => inputs.content(attemptId, sha256) },
  }))
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0)
  if (bytes <= workspaceBytes) return { type: 'brought', files }
  const message = `The uploads have ${bytes} bytes, the workspace ${workspaceBytes}.`
  return { type: 'failed', code: 'RESOURCES_REFUSED', message }
}
