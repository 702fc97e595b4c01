/**
 * `RUN_AGENT`: one fresh container for each attempt, which outlives the agent and is found again by its name. What comes
 * next is decided in `step.ts` from what the journal has logged and Docker shows, again after every answer of Docker and
 * every lack of one; so a life of the agent that finds the container half way goes on like the one that made it.
 *
 * Where the pool has a container that will do, the attempt gives it its name, and what it would have been made with is
 * delivered to its standard input. Until then nothing runs in it, and whether it has begun is read from its volume.
 *
 * Once the container's id is logged, nothing is concluded from silence: as long as Docker does not answer, it is asked.
 */
import { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import { adapterOf } from '@agent-executor/engines'
import {
  ARTIFACT_PATTERNS_DEFAULT,
  attemptId,
  ENGINES,
  type FailureCode,
  type JsonValue,
  type Resources,
  type RunAgentPayload,
  type RunAgentReason,
  type RunAgentResult,
} from '@agent-executor/protocol'
import type { CrashPoint } from '../../crash-points.ts'
import { containerName, createOptions, INPUT } from '../../docker/create-options.ts'
import { type Docker, DockerRefused, DockerUnavailable, type Seen } from '../../docker/docker.ts'
import { loosenings, strayMounts } from '../../docker/policy.ts'
import { ArchiveBroken, type Collector } from '../../files/collect.ts'
import type { Inputs } from '../../files/inputs.ts'
import type { Left } from '../../files/spools.ts'
import type { Reading, Resumption, Spool } from '../../logs/spools.ts'
import type { AttemptState, ContainerLog, Ending, Executor, StopCause, Work } from '../executor.ts'
import { failed } from '../failure.ts'
import { availability } from './availability.ts'
import { createCapture } from './capture.ts'
import { classify, type End, type Failed } from './classify.ts'
import { environment, environmentFile } from './environment.ts'
import { endedFrom } from './hooks.ts'
import { entrypoint, type Input, inputTar, ONCE, type UploadedFile, uploadsTar } from './input.ts'
import { type Output, readOutput } from './output.ts'
import { PACKED_FOLDER } from './pack.ts'
import { planOf } from './plan.ts'
import type { Pool } from './pool.ts'
import { inputBytes, PROGRAM_INPUT_BYTES_MAX, program } from './program.ts'
import { isOfPool, mayStartAnew, nextStep } from './step.ts'

export type RunAgentOptions = {
  docker: Docker
  /** Where the log of an attempt is kept until it is uploaded. */
  spools: { take: (attemptId: string) => Promise<Spool> }
  /** What commands have uploaded, and what attempts leave. */
  inputs: Pick<Inputs, 'fetch' | 'content' | 'remove'>
  artifacts: Collector
  /** Taken out of all output. */
  secrets: readonly string[]
  agentId: string
  /** Used where a command names none, and what else a command may name. */
  image: string
  images: readonly string[]
  defaults: Resources
  maxima: Resources
  runtime: string
  /** Containers that are started already; null where there are none to be. */
  pool?: Pool | null
  /** 0: the agent takes no RUN_AGENT. */
  slots?: number
  /** What `engines` says has changed. */
  changed?: () => void
  crashPoint: (name: CrashPoint) => void
  warn: (facts: object, message: string) => void
  /** How long Docker may be silent before the start until the attempt fails. */
  patienceMs?: number
}

const PATIENCE_MS = 30_000
const RETRY_MS = 500
/** A wait is asked for anew, in case its connection is one that nobody hears on. */
const WAIT_MS = 10_000
/** From the end of the output to the end of the container, unless one of the two has been cut. */
const LAST_BYTE_TO_EXIT_MS = 2000
/** Where the cause does not say. */
const GRACE_MS = 5000
/** From the end of the grace, for the container to pack what it leaves. */
const PACK_MS = 10_000
const KILL_AGAIN_MS = 1000
const OUTPUT_END_MS = 10_000
const LOG_IDLE_MS = 30_000
/** Between two readings of Docker's log of a container that runs. */
const REREAD_MS = 1000
/** For the log's end to reach the disk; after it the outcome waits no longer. */
const SPOOL_END_MS = 5000
const LOG_READS_MAX = 5
/** A container of the pool that ends so often before its prompt begins is no accident. */
const RESTARTS_MAX = 3
const ARCHIVE_READS_MAX = 5

export function createRunAgentExecutor(options: RunAgentOptions): Executor<RunAgentPayload> {
  const { docker, agentId, warn, image, runtime, slots = 1 } = options
  const strange = new Set<string>()
  let hasImage: boolean | null = null
  let hasRuntime: boolean | null = null
  const look = async (): Promise<void> => {
    const before = [hasImage, hasRuntime]
    hasImage = (await docker.imageId(image)) !== null
    hasRuntime = await docker.hasRuntime(runtime)
    if (hasRuntime === false && before[1] !== false)
      warn({ runtime }, 'Docker does not have RUN_AGENT_RUNTIME, RUN_AGENT is not offered')
    if (hasImage !== before[0] || hasRuntime !== before[1]) options.changed?.()
  }
  return {
    type: 'RUN_AGENT',
    afterCrash: 'adopt',
    // Under another runtime than the one that was asked for, nothing runs.
    ready: () => docker.up() && (runtime === '' || hasRuntime === true),
    engines: () => {
      const here = availability({
        ...{ slots, image, hasImage, runtime, hasRuntime },
        docker: { up: docker.up(), reason: docker.reason() },
      })
      return Object.fromEntries(
        ENGINES.filter((engine) => adapterOf(engine) !== undefined).map((engine) => [engine, here]),
      )
    },
    run: (work, signal, container) =>
      work.payload.dryRun === true
        ? dryRun(options, work, signal)
        : createAttempt(options, work, signal, container).run(),

    async reconcile(stateOf: (attemptId: string) => AttemptState): Promise<void> {
      if (!docker.up()) return
      for (const { id, attemptId } of await docker.list(agentId)) {
        if (attemptId === null) continue
        const state = stateOf(attemptId)
        if (state === 'acknowledged') await docker.remove(id)
        // Of another journal under this agent's id, or older than the journal remembers: it may be somebody's only copy.
        if (state === 'unknown' && !strange.has(id)) {
          strange.add(id)
          warn({ attemptId, containerId: id }, 'a container of an attempt that the journal does not know is left alone')
        }
      }
      await look()
    },
  }
}

/** For an attempt that is stopped before anything ran; the cause of the stop decides what it means. */
const NOT_BEGUN = failed({ code: 'CANCELLED', message: 'Stopped before anything ran.' })

type Stopping = {
  for: NonNullable<End['stoppedFor']>
  /** When the grace is over, and when the container has to be. */
  packAtMs: number
  killAtMs: number
  sent: 'SIGTERM' | 'SIGUSR2' | 'SIGKILL' | null
}

function createAttempt(options: RunAgentOptions, work: Work<RunAgentPayload>, signal: AbortSignal, log: ContainerLog) {
  const { docker, agentId, crashPoint } = options
  const { payload } = work
  const owner = { agentId, attemptId: attemptId(work.commandId, work.attempt) }
  const image = payload.image ?? options.image
  const secrets = [...options.secrets, ...Object.values(payload.secrets?.promptVars ?? {})]
  const giveUpAtMs = performance.now() + (options.patienceMs ?? PATIENCE_MS)

  const input: Input = {
    prompt: payload.secrets?.prompt ?? payload.prompt,
    files: (payload.files ?? []).filter(({ upload }) => upload === undefined),
    hooks: payload.hooks ?? {},
    env: environmentFile(environment(payload, work)),
  }

  let loggedId = log.id
  /** Docker was asked to start it, or to give it its program, maybe by an earlier life: if it has not, it still may. */
  let startAsked = log.id !== null
  /** In this life, it was started or seen to run: then its end is seen as well, unless Docker is away. */
  let watched = false
  let outage = false
  /** Of all that it wrote, attached before the start. */
  let whole: Output | null = null
  /** Attached later, to know when it wrote last; anew where Docker was away since. */
  let pulse: Output | null = null
  let pulseLost = false
  /** When `whole` was seen to be over, and the container not. */
  let overSinceMs: number | null = null
  /** Null where the disk does not give one. */
  let spool: Spool | null = null
  /** Docker's log as it grows, where the output of the container was not read from its start. */
  let relay: { output: Output; resumption: Resumption } | null = null
  let rereadAtMs = 0
  /** All that it wrote has gone through the spool. */
  let isSpooled = false
  let stopping: Stopping | null = null
  let logReads = 0
  /** Of one of the pool: when this life gave it its program, by the wall clock, and how often it had to start it anew. */
  let deliveredAtMs: number | null = null
  let restarts = 0
  let archiveReads = 0

  const causeOfStop = (): StopCause | null => (signal.aborted ? (signal.reason as StopCause) : null)
  const isLeaving = (): boolean => causeOfStop()?.type === 'stop'

  const run = async (): Promise<Ending> => {
    spool = await options.spools.take(owner.attemptId).catch((error: unknown) => {
      options.warn({ attemptId: owner.attemptId, err: error }, 'there is no place for the log of this attempt')
      return null
    })
    try {
      for (;;) {
        const ending = await step()
        if (ending === null) continue
        await endSpool(ending)
        return ending
      }
    } finally {
      whole?.stop()
      pulse?.stop()
      relay?.output.stop()
      await options.inputs.remove(owner.attemptId)
    }
  }

  /** Before the outcome is stored, so that what has one has the end of its log too. A container that goes on has none. */
  const endSpool = async (ending: Ending): Promise<void> => {
    if (spool === null) return
    const goesOn = isLeaving() && ending === NOT_BEGUN
    const nothingRan = !startAsked && !watched
    const ended = goesOn ? spool.close() : spool.end(isSpooled || nothingRan)
    await Promise.race([ended, sleep(SPOOL_END_MS, undefined, { ref: false })])
  }

  const reading = (newest: Reading | null) => ({ secrets, reading: newest })

  /** What an earlier life has not spooled, and what comes now: from Docker's log, again where it was cut off. */
  const keepSpooling = async (id: string): Promise<void> => {
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
  }

  /** Null: there is more to do. */
  const step = async (): Promise<Ending | null> => {
    try {
      const seen = await docker.inspect(loggedId ?? containerName(owner.attemptId))
      switch (nextStep(seen, loggedId, owner)) {
        case 'create':
          return signal.aborted ? NOT_BEGUN : await create()
        case 'start':
          return signal.aborted ? await neverStart(seen as Seen) : await start(seen as Seen)
        case 'discard':
          return await discard(seen as Seen)
        case 'follow':
          return await (needsProgram(seen as Seen) ? deliver(seen as Seen) : follow(seen as Seen))
        case 'collect':
          return await collect(seen as Seen)
        case 'gone':
          return gone()
        case 'stranger':
          return failed({ code: 'CONTAINER_START_FAILED', message: 'The name of the container is taken by another.' })
      }
    } catch (error) {
      if (!(error instanceof DockerUnavailable || error instanceof DockerRefused)) throw error
      // Not started before it is logged: here alone silence may end the attempt.
      if (isLeaving() || (loggedId === null && signal.aborted)) return NOT_BEGUN
      if (loggedId === null && performance.now() > giveUpAtMs)
        return failed({ code: 'DOCKER_UNAVAILABLE', message: error.message })
      if (error instanceof DockerUnavailable && loggedId !== null) {
        outage = true
        pulseLost = true
      }
      await pause()
      return null
    }
  }

  const pause = async (): Promise<void> => {
    await sleep(RETRY_MS, undefined, signal.aborted ? {} : { signal }).catch(() => {})
  }

  const create = async (): Promise<Ending | null> => {
    if (fitsPool(options, payload, input) && (await options.pool?.take(containerName(owner.attemptId)))) {
      crashPoint('container.taken')
      return null
    }
    const prepared = prepare(options, work)
    if ('code' in prepared) return failed(prepared)
    const files = await fetched()
    if (!('files' in files)) return files.failed === null ? null : failed(files.failed)
    try {
      await docker.create(prepared.made)
    } catch (error) {
      if (!(error instanceof DockerRefused)) throw error
      if (error.statusCode === 404)
        return failed({ code: 'IMAGE_MISSING', message: `Docker does not have the image ${image}.` })
      return failed({ code: 'CONTAINER_START_FAILED', message: error.message })
    }
    crashPoint('container.created')
    return null
  }

  /** What the command has uploaded, on this disk; `failed` null: asked to stop meanwhile. */
  const fetched = async (): Promise<{ files: UploadedFile[] } | { failed: Failed | null }> => {
    const uploads = (payload.files ?? []).flatMap(({ upload, ...file }) =>
      upload === undefined ? [] : [{ ...file, upload }],
    )
    if (uploads.length === 0) return { files: [] }
    const { inputs } = options
    const sha256s = uploads.map(({ upload }) => upload)
    const got = await inputs.fetch(owner.attemptId, sha256s, signal)
    if (got.type === 'stopped') return { failed: null }
    if (got.type === 'failed') return { failed: { code: 'FILES_UNAVAILABLE', message: got.message } }
    const files = uploads.map(({ upload, ...file }) => ({
      ...{ ...file, bytes: got.bytes[upload] ?? 0, content: () => inputs.content(owner.attemptId, upload) },
    }))
    const bytes = files.reduce((sum, file) => sum + file.bytes, 0)
    const { workspaceBytes } = resourcesOf(options, payload)
    if (bytes <= workspaceBytes) return { files }
    const message = `The uploads have ${bytes} bytes, the workspace ${workspaceBytes}.`
    return { failed: { code: 'RESOURCES_REFUSED', message } }
  }

  const start = async (seen: Seen): Promise<Ending | null> => {
    const stray = strayMounts(seen.mounts)
    if (stray.length > 0)
      return notStarted(seen, `The image declares volumes, whose size nothing bounds: ${stray}.`, startAsked)
    // As a rule they were fetched before it was made.
    const got = await fetched()
    if (!('files' in got))
      return got.failed === null ? null : notStarted(seen, got.failed.message, startAsked, got.failed.code)
    try {
      await docker.put(seen.id, INPUT, inputTar(input, loggedId === null))
      if (got.files.length > 0) await docker.put(seen.id, INPUT, Readable.from(uploadsTar(got.files)))
    } catch (error) {
      if (error instanceof DockerRefused) return notStarted(seen, error.message, startAsked)
      throw error
    }
    if (loggedId === null && !logged(seen.id)) {
      await pause()
      return null
    }
    loggedId = seen.id
    whole?.stop()
    whole = readOutput(await docker.attach(seen.id), reading(spool?.begin(secrets) ?? null))
    // Asked for to end while all that was done.
    if (signal.aborted) return null
    const askedBefore = startAsked
    startAsked = true
    try {
      await docker.start(seen.id)
    } catch (error) {
      if (!(error instanceof DockerRefused)) throw error
      if ((await docker.inspect(seen.id))?.status === 'created') return notStarted(seen, error.message, askedBefore)
    }
    watched = true
    crashPoint('container.started')
    return null
  }

  /** Of the pool, dead before anything was delivered to it. There are others, or none. */
  const discard = async (seen: Seen): Promise<Ending | null> => {
    if (isLeaving()) return NOT_BEGUN
    await docker.remove(seen.id)
    if (seen.status === 'removing') await pause()
    return null
  }

  /** Nobody in this life has a connection to it that was whole until now. */
  const needsProgram = (seen: Seen): boolean => isOfPool(seen) && (pulseLost || (pulse ?? whole) === null)

  /** To one that has it already, also the whole of it or a part, it does nothing: see `program.ts`. */
  const deliver = async (seen: Seen): Promise<Ending | null> => {
    if (isLeaving()) return NOT_BEGUN
    if (signal.aborted && startAsked) return follow(seen)
    if (signal.aborted) {
      await docker.remove(seen.id)
      return NOT_BEGUN
    }
    if (loggedId === null && !logged(seen.id)) {
      await pause()
      return null
    }
    loggedId = seen.id
    const isFirst = !startAsked
    // Also where no answer comes: it may have got it.
    startAsked = true
    pulse?.stop()
    const { output, sent } = await docker.deliver(seen.id, program(payload, input))
    watched = true
    pulseLost = false
    if (isFirst) {
      whole = readOutput(output, reading(spool?.begin(secrets) ?? null))
      deliveredAtMs = Date.now()
    } else pulse = readOutput(output, reading(null))
    await sent
    crashPoint('container.delivered')
    return null
  }

  /**
   * One of the pool that has ended without having begun: what was delivered was cut, or it was killed before. Its id is
   * logged, and what is logged never changes; so it is this one that gets another start.
   */
  const startAnew = async (seen: Seen): Promise<Ending | null> => {
    isSpooled = true
    if (signal.aborted) return NOT_BEGUN
    if (restarts++ >= RESTARTS_MAX)
      return failed({ code: 'CONTAINER_START_FAILED', message: 'The container ended before the prompt began.' })
    whole?.stop()
    pulse?.stop()
    pulse = null
    stopping = null
    overSinceMs = null
    isSpooled = false
    const { output } = await docker.deliver(seen.id, program(payload, input))
    whole = readOutput(output, reading(spool?.begin(secrets) ?? null))
    deliveredAtMs = Date.now()
    try {
      await docker.start(seen.id)
    } catch (error) {
      if (error instanceof DockerRefused) return failed({ code: 'CONTAINER_START_FAILED', message: error.message })
      throw error
    }
    outage = false
    watched = true
    return null
  }

  /** The journal may be unable to for a while: its disk is full, or the attempt has been dropped just now. */
  const logged = (id: string): boolean => {
    try {
      log.write(id)
      return true
    } catch (error) {
      options.warn({ attemptId: owner.attemptId, err: error }, 'the container could not be logged, it is not started')
      return false
    }
  }

  /** A start that was asked for may still come: a container that is gone cannot be started. */
  const neverStart = async (seen: Seen): Promise<Ending> => {
    if (!isLeaving() && startAsked) await docker.remove(seen.id)
    return NOT_BEGUN
  }

  const notStarted = async (
    seen: Seen,
    message: string,
    askedBefore: boolean,
    code: FailureCode = 'CONTAINER_START_FAILED',
  ): Promise<Ending> => {
    if (!askedBefore) return failed({ code, message })
    await docker.remove(seen.id)
    return failed({ code: 'INTERRUPTED', message: `${message} An earlier start may have come between.` })
  }

  const follow = async (seen: Seen): Promise<Ending | null> => {
    watched = true
    loggedId ??= seen.id
    if (isLeaving()) return NOT_BEGUN
    await keepSpooling(seen.id)
    if (payload.idleTimeoutMs !== undefined && (pulseLost || (pulse ?? whole) === null)) {
      pulse?.stop()
      pulse = readOutput(await docker.attach(seen.id), reading(null))
      pulseLost = false
    }
    await stopIfDue(seen.id)
    // The end of the output is the first sign of an end, and of a Docker that is gone.
    const over = [whole, pulse, relay?.output ?? null].flatMap((output) =>
      output?.state() === 'open' ? [output.over] : [],
    )
    await Promise.race([docker.wait(seen.id, Math.max(1, waitMs()), stopping === null ? signal : null), ...over])
    looksCut()
    return null
  }

  /** An output that is over long before its container may be one that Docker has cut: then its log knows more. */
  const looksCut = (): void => {
    if (whole === null || whole.state() === 'open') return
    overSinceMs ??= performance.now()
    if (outage || performance.now() - overSinceMs <= LAST_BYTE_TO_EXIT_MS) return
    outage = true
    pulseLost = true
  }

  const idleLeftMs = (): number => {
    const output = pulse ?? whole
    if (payload.idleTimeoutMs === undefined || output === null) return Number.POSITIVE_INFINITY
    return output.lastMs() + payload.idleTimeoutMs - performance.now()
  }

  const waitMs = (): number => {
    const mostMs = overSinceMs === null ? WAIT_MS : LAST_BYTE_TO_EXIT_MS + 100
    if (stopping === null) return Math.min(mostMs, Math.ceil(idleLeftMs()))
    if (stopping.sent === 'SIGKILL') return KILL_AGAIN_MS
    const nextMs = stopping.sent === 'SIGUSR2' ? stopping.killAtMs : stopping.packAtMs
    return Math.ceil(nextMs - performance.now())
  }

  const stopIfDue = async (id: string): Promise<void> => {
    const nowMs = performance.now()
    const cause = causeOfStop()
    if (stopping === null && cause !== null) stopping = stoppingFrom(nowMs, cause.type, graceMsOf(cause))
    if (stopping === null && idleLeftMs() <= 0) stopping = stoppingFrom(nowMs, 'idle', GRACE_MS)
    if (stopping === null) return
    const due = nowMs >= stopping.killAtMs ? 'SIGKILL' : nowMs >= stopping.packAtMs ? 'SIGUSR2' : 'SIGTERM'
    if (stopping.sent === due && due !== 'SIGKILL') return
    if (await docker.kill(id, due)) stopping.sent = due
  }

  const collect = async (seen: Seen): Promise<Ending | null> => {
    const begunAtMs = isOfPool(seen) ? await begunAt(seen) : null
    if (isOfPool(seen) && mayStartAnew(seen, begunAtMs !== null)) return await startAnew(seen)
    if (seen.status === 'created') return gone('How the container ended is lost; it may have run.')
    crashPoint('container.exited')
    loggedId ??= seen.id
    const read = await outputOf(seen.id)
    const stderr = read.output?.stderr ?? nothing
    const lastWords = stderr.text().text
    const hasHooks = payload.hooks !== undefined
    const { reason, failure } = classify({
      ...{ exitCode: seen.exitCode, oomKilled: seen.oomKilled, unwatched: outage || !watched },
      stoppedFor: stopping?.sent == null ? null : stopping.for,
      ...{ lastWords, hasHooks },
    })
    const { exitCode, oomKilled } = seen
    const tookMs = begunAtMs === null ? seen.tookMs : between(begunAtMs, seen.finishedAtMs)
    const result = resultOf({ exitCode, oomKilled, tookMs, reason }, read, await leftIn(seen.id))
    if (hasHooks) result.hooks = endedFrom(lastWords)?.hooks ?? null
    return failure === null ? { ok: true, result } : withResult(failure, result)
  }

  /** By the wall clock; null where the prompt of one of the pool has not begun. Before it, nothing writes to stdout. */
  const begunAt = async ({ id }: Seen): Promise<number | null> => {
    if (deliveredAtMs !== null && whole !== null && whole.stdout.text().bytes > 0) return deliveredAtMs
    const writtenAtMs = await docker.writtenAtMs(id, ONCE)
    return writtenAtMs === null ? null : (deliveredAtMs ?? writtenAtMs)
  }

  const gone = (message = 'The container is gone, removed by somebody else; it may have run.'): Ending => {
    const failure = { code: 'INTERRUPTED', message } as const
    const result = resultOf(
      { exitCode: null, oomKilled: false, tookMs: null, reason: 'unknown' },
      { output: whole, from: whole === null ? 'none' : 'stream' },
      options.artifacts.collected(owner.attemptId) ?? { ...NOTHING_LEFT, missing: 'unreadable' },
    )
    return withResult(failure, result)
  }

  /** What it has packed; read once, whoever began. */
  const leftIn = async (id: string): Promise<Left> => {
    const { artifacts } = options
    const patterns = payload.artifacts ?? ARTIFACT_PATTERNS_DEFAULT
    const before = artifacts.collected(owner.attemptId)
    if (before !== null) return before
    if (patterns.length === 0) return NOTHING_LEFT
    if (archiveReads++ >= ARCHIVE_READS_MAX) return { ...NOTHING_LEFT, missing: 'unreadable' }
    try {
      return await artifacts.collect(owner.attemptId, await docker.archive(id, `${INPUT}/${PACKED_FOLDER}`), patterns)
    } catch (error) {
      // Of a container that an agent of before has made.
      if (error instanceof DockerRefused) return { ...NOTHING_LEFT, missing: 'unreadable' }
      throw error instanceof ArchiveBroken ? new DockerUnavailable(`archive: ${error.message}`) : error
    }
  }

  type Read = { output: Output | null; from: RunAgentResult['outputFrom'] }

  const outputOf = async (id: string): Promise<Read> => {
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
  }

  /** All of it, into the result and the spool. Null where the logging driver cannot be read from. */
  const readLog = async (id: string): Promise<{ output: Output; resumption: Resumption | null } | null> => {
    const resumption = spool?.resume(secrets) ?? null
    let output: Output
    try {
      output = readOutput(await docker.logs(id), reading(resumption))
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

  const resultOf = (
    end: { exitCode: number | null; oomKilled: boolean; tookMs: number | null; reason: RunAgentReason },
    { output, from }: Read,
    { artifacts, skipped, missing, changes }: Left,
  ): RunAgentResult => ({
    engine: payload.engine,
    image,
    exitCode: end.exitCode,
    reason: end.reason,
    oomKilled: end.oomKilled,
    stdout: (output?.stdout ?? nothing).text(),
    stderr: (output?.stderr ?? nothing).text(),
    outputFrom: from,
    tookMs: end.tookMs,
    artifacts: artifacts.map(({ name, bytes, sha256 }) => ({ name, bytes, sha256 })),
    ...(skipped.count === 0 ? {} : { artifactsSkipped: skipped }),
    ...(changes == null ? {} : { changes }),
    ...(missing === null ? {} : { artifactsMissing: missing }),
    ...(payload.hooks === undefined ? {} : { hooks: null }),
  })

  return { run }
}

/** Whether it asks for what the containers of the pool were made with, and brings no more than they can be given. */
const fitsPool = (options: RunAgentOptions, payload: RunAgentPayload, input: Input): boolean =>
  (payload.image ?? options.image) === options.image &&
  (payload.files ?? []).every(({ upload }) => upload === undefined) &&
  isDeepStrictEqual(resourcesOf(options, payload), options.defaults) &&
  inputBytes(input) <= PROGRAM_INPUT_BYTES_MAX

/** Null where the clock was set back between. */
const between = (fromMs: number, untilMs: number | null): number | null =>
  untilMs === null || untilMs < fromMs ? null : Math.round(untilMs - fromMs)

/** What a container would be made with, or why it is not. */
function prepare(
  options: RunAgentOptions,
  { commandId, attempt, payload }: Work<RunAgentPayload>,
): { made: ReturnType<typeof createOptions>; image: string } | Failed {
  const image = payload.image ?? options.image
  const refusal = refusalOf(options, payload, image)
  if (refusal !== null) return refusal
  const made = createOptions({
    agentId: options.agentId,
    attemptId: attemptId(commandId, attempt),
    ...{ image, runtime: options.runtime, entrypoint: entrypoint(payload) },
    resources: resourcesOf(options, payload),
  })
  const loose = loosenings(made, options.maxima)
  if (loose.length > 0) return { code: 'INTERNAL_ERROR', message: `The sandbox would be loose: ${loose}.` }
  return { made, image }
}

/** Nothing is made and nothing logged, so that a later life answers the same again. */
async function dryRun(options: RunAgentOptions, work: Work<RunAgentPayload>, signal: AbortSignal): Promise<Ending> {
  const prepared = prepare(options, work)
  if ('code' in prepared) return failed(prepared)
  const { made, image } = prepared
  const giveUpAtMs = performance.now() + (options.patienceMs ?? PATIENCE_MS)
  for (;;) {
    if (signal.aborted) return NOT_BEGUN
    try {
      const imagePresent = (await options.docker.imageId(image)) !== null
      const env = environment(work.payload, work).map(([name]) => name)
      return { ok: true, result: planOf(work.payload, made, { image, imagePresent, env }) as unknown as JsonValue }
    } catch (error) {
      if (!(error instanceof DockerUnavailable || error instanceof DockerRefused)) throw error
      if (performance.now() > giveUpAtMs) return failed({ code: 'DOCKER_UNAVAILABLE', message: error.message })
      await sleep(RETRY_MS, undefined, { signal }).catch(() => {})
    }
  }
}

const nothing = createCapture(2)
const NOTHING_LEFT: Left = { artifacts: [], skipped: { count: 0, files: [] }, missing: null }

const withResult = (failure: Failed, result: RunAgentResult): Ending => Object.assign(failed(failure), { result })

/** Without a grace there is no time to pack either. */
const stoppingFrom = (nowMs: number, cause: Stopping['for'], graceMs: number): Stopping => {
  const packAtMs = nowMs + graceMs
  const isAtOnce = cause === 'fence' || cause === 'drop'
  return { for: cause, packAtMs, killAtMs: isAtOnce ? nowMs : packAtMs + PACK_MS, sent: null }
}

/** Whoever else may begin when the lease is over does not wait for a grace. */
const graceMsOf = (cause: StopCause): number => {
  if (cause.type === 'fence' || cause.type === 'drop') return 0
  return cause.type === 'cancel' ? (cause.graceMs ?? GRACE_MS) : GRACE_MS
}

const resourcesOf = ({ defaults }: RunAgentOptions, { resources = {} }: RunAgentPayload): Resources => ({
  memoryBytes: resources.memoryBytes ?? defaults.memoryBytes,
  cpus: resources.cpus ?? defaults.cpus,
  pidsMax: resources.pidsMax ?? defaults.pidsMax,
  workspaceBytes: resources.workspaceBytes ?? defaults.workspaceBytes,
})

/** What this agent does not give, or null. */
function refusalOf(
  options: RunAgentOptions,
  payload: RunAgentPayload,
  image: string,
): { code: FailureCode; message: string } | null {
  if (image !== options.image && !options.images.includes(image))
    return { code: 'IMAGE_REFUSED', message: `This agent does not allow the image ${image}.` }
  const asked = resourcesOf(options, payload)
  const names = Object.keys(asked) as (keyof Resources)[]
  const beyond = names.filter((name) => asked[name] > options.maxima[name])
  if (beyond.length === 0) return null
  const most = beyond.map((name) => `${name} ${options.maxima[name]}`).join(', ')
  return { code: 'RESOURCES_REFUSED', message: `This agent gives at most ${most}.` }
}
