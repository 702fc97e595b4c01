/** A stream of frames on its way into two captures. */
import type { Readable } from 'node:stream'
import { finished } from 'node:stream/promises'
import { STREAM_BYTES_MAX } from '@agent-executor/protocol'
import { createDemultiplexer } from '../../docker/demultiplexer.ts'
import { createCapture } from './capture.ts'

export type Output = ReturnType<typeof readOutput>

export function readOutput(stream: Readable) {
  const captures = { stdout: createCapture(STREAM_BYTES_MAX), stderr: createCapture(STREAM_BYTES_MAX) }
  const frames = createDemultiplexer((name, bytes) => captures[name].push(bytes))
  let lastMs = performance.now()
  let state: 'open' | 'ended' | 'broken' = 'open'
  const over = finished(stream, { writable: false }).then(
    () => {
      state = frames.whole() ? 'ended' : 'broken'
    },
    () => {
      state = 'broken'
    },
  )
  stream.on('data', (chunk: Buffer) => {
    lastMs = performance.now()
    try {
      frames.push(chunk)
    } catch (error) {
      stream.destroy(error as Error)
    }
  })
  return {
    ...captures,
    /** When something came last, by `performance.now()`. */
    lastMs: (): number => lastMs,
    state: () => state,
    /** Resolves at its end, whichever that is. */
    over,
    stop: (): void => void stream.destroy(),
  }
}
