/** A stream of frames on its way into two captures, without its secrets, and into whatever else reads it as it is. */
import type { Readable } from 'node:stream'
import { finished } from 'node:stream/promises'
import { STREAM_BYTES_MAX } from '@agent-executor/protocol'
import { createDemultiplexer, type StreamName } from '../../docker/demultiplexer.ts'
import { createRedactor } from '../../logs/redact.ts'
import { createCapture } from './capture.ts'
import type { EngineReader } from './engine-reader.ts'

export type Output = ReturnType<typeof readOutput>

export type OutputOptions = {
  secrets: readonly string[]
  /** Gets all bytes, the secrets among them. */
  reading: { write: (stream: StreamName, bytes: Buffer) => void } | null
  /** Gets what goes to standard output, without the secrets. */
  reader: EngineReader | null
}

export function readOutput(stream: Readable, { secrets, reading, reader }: OutputOptions) {
  const captures = { stdout: createCapture(STREAM_BYTES_MAX), stderr: createCapture(STREAM_BYTES_MAX) }
  const redactors = { stdout: createRedactor(secrets), stderr: createRedactor(secrets) }
  const keep = (name: StreamName, redacted: Buffer): void => {
    captures[name].push(redacted)
    if (name === 'stdout') reader?.push(redacted)
  }
  const frames = createDemultiplexer((name, bytes) => {
    reading?.write(name, bytes)
    keep(name, redactors[name].push(bytes).redacted)
  })
  const flush = (): void => {
    for (const name of ['stdout', 'stderr'] as const) keep(name, redactors[name].end().redacted)
    reader?.end()
  }
  let lastMs = performance.now()
  let state: 'open' | 'ended' | 'broken' = 'open'
  const over = finished(stream, { writable: false }).then(
    () => {
      flush()
      state = frames.whole() ? 'ended' : 'broken'
    },
    () => {
      flush()
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
    reader,
    /** When something came last, by `performance.now()`. */
    lastMs: (): number => lastMs,
    state: () => state,
    /** Resolves at its end, whichever that is. */
    over,
    stop: (): void => void stream.destroy(),
  }
}
