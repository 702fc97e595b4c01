/**
 * What is read of the output of one container: by a stream from its start, by one attached later, and again from Docker's
 * log where a stream was cut, into the result and into the spool. It knows what it has seen, and not what follows from it.
 */
import type { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import type { RunAgentResult } from '@agent-executor/protocol'
import { type Docker, DockerRefused, DockerUnavailable } from '../../docker/docker.ts'
import type { Reading, Resumption, Spool } from '../../logs/spools.ts'
import type { EngineReader } from './engine-reader.ts'
import { type Output, readOutput } from './output.ts'

export type Read = { output: Output | null; from: RunAgentResult['outputFrom'] }

export type Outputs = ReturnType<typeof createOutputs>

/** From the end of the output to the end of the container, unless one of the two has been cut. */
export const LAST_BYTE_TO_EXIT_MS = 2000
const OUTPUT_END_MS = 10_000
const LOG_IDLE_MS = 30_000
/** Between two readings of Docker's log of a container that runs. */
const REREAD_MS = 1000
/** For the log's end to reach the disk; after it the outcome waits no longer. */
const SPOOL_END_MS = 5000
const LOG_READS_MAX = 5

export function createOutputs(options: {
  docker: Docker
  secrets: readonly string[]
  /** Null where the disk does not give one. */
  spool: Spool | null
  /** Of what the engine prints, without the secrets; anew for each reading. */
  reader: () => EngineReader | null
}) {
  const { docker, secrets, spool } = options
  let outage = false
  /** Of all that it wrote, attached before the start. */
  let whole: Output | null = null
  /** Attached later, to know when it wrote last; anew where Docker was away since. */
  let pulse: Output | null = null
  let pulseLost = false
  /** When `whole` was seen to be over, and the container not. */
  let overSinceMs: number | null = null
  /** Docker's log as it grows, where the output of the container was not read from its start. */
  let relay: { output: Output; resumption: Resumption } | null = null
  let rereadAtMs = 0
  /** All that it wrote has gone through the spool. */
  let isSpooled = false
  let logReads = 0

  const reading = (newest: Reading | null) => ({ secrets, reading: newest, reader: null })
  const wholeReading = (newest: Reading | null) => ({ secrets, reading: newest, reader: options.reader() })

  /** All of it, into the result and the spool. Null where the logging driver cannot be read from. */
  const readLog = async (id: string): Promise<{ output: Output; resumption: Resumption | null } | null> => {
    const resumption = spool?.resume(secrets) ?? null
    let output: Output
    try {
      output = readOutput(await docker.logs(id), wholeReading(resumption))
    } catch (error) {
      if (error instanceof DockerRefused) return null
      throw error
    }
    while (output.state() === 'open') {
      await Promise.race([output.over, sleep(LOG_IDLE_MS, undefined, { ref: false })])
      if (performance.now() - output.lastMs() > LOG_IDLE_MS) output.stop()
    }
    if (output.state() === 'broken') throw new DockerUnavailable('logs: broken off')
    return { output, resumption }
  }

  return {
    /** A stream from the first byte on. */
    begin(stream: Readable): void {
      whole?.stop()
      whole = readOutput(stream, wholeReading(spool?.begin(secrets) ?? null))
    },

    /** The same for one that is started once more, of which nothing has come before. */
    beginAnew(stream: Readable): void {
      pulse?.stop()
      pulse = null
      overSinceMs = null
      isSpooled = false
      this.begin(stream)
    },

    /** A stream from somewhere on. */
    join(stream: Readable): void {
      pulse?.stop()
      pulse = readOutput(stream, reading(null))
      pulseLost = false
    },

    leavePulse: (): void => pulse?.stop(),

    /** It has got a stream that was whole until now. */
    isJoined: (): boolean => !pulseLost && (pulse ?? whole) !== null,
    joined(): void {
      pulseLost = false
    },

    /** Docker was silent: whatever came meanwhile is missing in the streams. */
    missed(): void {
      outage = true
      pulseLost = true
    },
    hasMissed: (): boolean => outage,
    /** It was started anew in this life, before which nothing counts. */
    hasMissedNothing(): void {
      outage = false
    },

    whole: (): Output | null => whole,

    /** When it wrote last, by `performance.now()`; null where nobody has looked. */
    lastMs: (): number | null => (pulse ?? whole)?.lastMs() ?? null,

    /** Each resolves when a stream is over, the first sign of an end, and of a Docker that is gone. */
    over: (): Promise<void>[] =>
      [whole, pulse, relay?.output ?? null].flatMap((output) => (output?.state() === 'open' ? [output.over] : [])),

    /** It is over, and the container was not when that was seen. */
    isOver: (): boolean => overSinceMs !== null,

    /** An output that is over long before its container may be one that Docker has cut: then its log knows more. */
    look(): void {
      if (whole === null || whole.state() === 'open') return
      overSinceMs ??= performance.now()
      if (!outage && performance.now() - overSinceMs > LAST_BYTE_TO_EXIT_MS) this.missed()
    },

    /** What an earlier life has not spooled, and what comes now: from Docker's log, again where it was cut off. */
    async keepSpooling(id: string): Promise<void> {
      // A stream that is over without an outage has been read to its end.
      if (spool === null || whole?.state() === 'open' || (whole?.state() === 'ended' && !outage)) return
      if (relay?.resumption.isLost()) relay.output.stop()
      const isGood = relay?.output.state() === 'open' && !relay.resumption.isLost()
      if (isGood || performance.now() < rereadAtMs) return
      rereadAtMs = performance.now() + REREAD_MS
      const resumption = spool.resume(secrets)
      try {
        relay = { resumption, output: readOutput(await docker.logs(id), reading(resumption)) }
      } catch (error) {
        // A logging driver that cannot be read from.
        if (!(error instanceof DockerRefused)) throw error
        rereadAtMs = Number.POSITIVE_INFINITY
      }
    },

    /** All of it, of a container that has ended. */
    async read(id: string): Promise<Read> {
      if (whole !== null && !outage) {
        await Promise.race([whole.over, sleep(OUTPUT_END_MS, undefined, { ref: false })])
        isSpooled = whole.state() === 'ended'
        if (isSpooled) return { output: whole, from: 'stream' }
      }
      if (logReads++ >= LOG_READS_MAX) return { output: null, from: 'none' }
      relay?.output.stop()
      const first = await readLog(id)
      if (first === null) return { output: null, from: 'none' }
      // What is gone for good is marked, and what is left spooled after it.
      const resumption = first.resumption?.isLost() ? (await readLog(id))?.resumption : first.resumption
      isSpooled = resumption?.hasCaughtUp() ?? false
      return { output: first.output, from: 'log' }
    },

    /** Nothing was written, and nothing will be. */
    nothingWritten(): void {
      isSpooled = true
    },

    /** Before the outcome is stored, so that what has one has the end of its log too. A container that goes on has none. */
    async endSpool({ goesOn }: { goesOn: boolean }): Promise<void> {
      if (spool === null) return
      const ended = goesOn ? spool.close() : spool.end(isSpooled)
      await Promise.race([ended, sleep(SPOOL_END_MS, undefined, { ref: false })])
    },

    stop(): void {
      whole?.stop()
      pulse?.stop()
      relay?.output.stop()
    },
  }
}
