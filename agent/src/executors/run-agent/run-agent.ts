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
import { attemptId, type FailureCode, type RunAgentPayload, type RunAgentReason } from '@agent-executor/protocol'
import type { CrashPoint } from '../../crash-points.ts'
import { containerName, INPUT } from '../../docker/create-options.ts'
import { type Docker, DockerRefused, DockerUnavailable, type Seen } from '../../docker/docker.ts'
import { strayMounts } from '../../docker/policy.ts'
import { ArchiveBroken, type Collector } from '../../files/collect.ts'
import type { Inputs } from '../../files/inputs.ts'
import type { Left } from '../../files/spools.ts'
import { GatewayRefused, GatewayUnavailable, type SessionUsage } from '../../gateway/client.ts'
import type { Spool } from '../../logs/spools.ts'
import type { AttemptState, ContainerLog, Ending, Executor, StopCause, Work } from '../executor.ts'
import { failed } from '../failure.ts'
import { type Brought, broughtBy, type Conversations } from './brought.ts'
import { classify, type Failed } from './classify.ts'
import { dryRun } from './dry-run.ts'
import { callOf, engineEnv, engineFiles, hasModel, hasWayOut, parserOf } from './engine-call.ts'
import { createEngineReader } from './engine-reader.ts'
import { createEngines } from './engines.ts'
import { environment, environmentFile } from './environment.ts'
import { createAttemptSession, type Gateway, sessionBody } from './gateway-session.ts'
import { endedFrom } from './hooks.ts'
import { type Input, inputTar, keptPatterns, ONCE, uploadsTar } from './input.ts'
import { createOutputs, LAST_BYTE_TO_EXIT_MS } from './outputs.ts'
import { PACKED_FOLDER } from './pack.ts'
import type { Pool } from './pool.ts'
import { fitsPool, imageOf, prepare, resourcesOf, scripted, type Terms } from './prepare.ts'
import { program } from './program.ts'
import { engineResult, isEmpty, lastWordsOf, NOTHING_LEFT, resultOf } from './result.ts'
import { sessionIdOf } from './session-id.ts'
import { isOfPool, mayStartAnew, nextStep } from './step.ts'
import { dueSignal, type Stopping, stoppingFrom, untilDueMs } from './stop.ts'

export type RunAgentOptions = Terms & {
  docker: Docker
  /** The way to language models and hosts; null where the agent has none. */
  gateway?: Gateway | null
  /** Where the log of an attempt is kept until it is uploaded. */
  spools: { take: (attemptId: string) => Promise<Spool> }
  /** What commands have uploaded, and what attempts leave. */
  inputs: Pick<Inputs, 'fetch' | 'content' | 'remove'>
  artifacts: Collector
  /** What engines have left of their conversations. */
  conversations?: Conversations
  /** Taken out of all output. */
  secrets: readonly string[]
  /** Containers that are started already; null where there are none to be. */
  pool?: Pool | null
  /** 0: the agent takes no RUN_AGENT. */
  slots?: number
  /** Whether images are asked for what their engines say of them, before they are offered. */
  probes?: boolean
  /** What `engines` says has changed. */
  changed?: () => void
  crashPoint: (name: CrashPoint) => void
  warn: (facts: object, message: string) => void
  /** How long Docker may be silent before the start until the attempt fails. */
  patienceMs?: number
}

export const PATIENCE_MS = 30_000
export const RETRY_MS = 500
/** A wait is asked for anew, in case its connection is one that nobody hears on. */
const WAIT_MS = 10_000
/** A container of the pool that ends so often before its prompt begins is no accident. */
const RESTARTS_MAX = 3
const ARCHIVE_READS_MAX = 5

export function createRunAgentExecutor(options: RunAgentOptions): Executor<RunAgentPayload> {
  const { docker, agentId, warn, gateway = null } = options
  const strange = new Set<string>()
  const engines = createEngines({ ...options, gateway })
  return {
    type: 'RUN_AGENT',
    afterCrash: 'adopt',
    ready: engines.ready,
    engines: engines.availabilities,
    define: engines.define,
    async run(work, signal, container) {
      if (work.payload.dryRun === true) {
        const terms = { ...options, patienceMs: options.patienceMs ?? PATIENCE_MS }
        const names = environmentOf(work).map(([name]) => name)
        return (await dryRun(terms, work, names, signal)) ?? NOT_BEGUN
      }
      const id = attemptId(work.commandId, work.attempt)
      const spool = await options.spools.take(id).catch((error: unknown) => {
        warn({ attemptId: id, err: error }, 'there is no place for the log of this attempt')
        return null
      })
      return createAttempt(options, work, signal, container, spool).run()
    },

    async reconcile(stateOf: (attemptId: string) => AttemptState): Promise<void> {
      if (!docker.up()) return
      for (const { id, attemptId } of await docker.list(agentId)) {
        if (attemptId === null) continue
        const state = stateOf(attemptId)
        if (state === 'acknowledged') {
          // First: what is left of a session is found by its container.
          if (gateway?.up())
            await gateway.close(attemptId).catch((error: unknown) => {
              if (error instanceof GatewayUnavailable) throw error
            })
          await docker.remove(id)
        }
        // Of another journal under this agent's id, or older than the journal remembers: it may be somebody's only copy.
        if (state === 'unknown' && !strange.has(id)) {
          strange.add(id)
          warn({ attemptId, containerId: id }, 'a container of an attempt that the journal does not know is left alone')
        }
      }
      await engines.look()
    },
  }
}

/** For an attempt that is stopped before anything ran; the cause of the stop decides what it means. */
const NOT_BEGUN = failed({ code: 'CANCELLED', message: 'Stopped before anything ran.' })

/** Names and values, in the order in which they are set. */
const environmentOf = (work: Work<RunAgentPayload>): [string, string][] => {
  const call = callOf(work.payload, sessionIdOf(work.commandId))
  return [...environment(work.payload, work), ...(call === null ? [] : engineEnv(work.payload, call))]
}

function createAttempt(
  options: RunAgentOptions,
  work: Work<RunAgentPayload>,
  signal: AbortSignal,
  log: ContainerLog,
  spool: Spool | null,
) {
  const { docker, agentId, crashPoint, gateway = null } = options
  const { payload, commandId } = work
  const owner = { agentId, attemptId: attemptId(commandId, work.attempt) }
  const image = imageOf(options, payload)
  const secrets = [...options.secrets, ...Object.values(payload.secrets?.promptVars ?? {})]
  const giveUpAtMs = performance.now() + (options.patienceMs ?? PATIENCE_MS)

  const call = callOf(payload, sessionIdOf(commandId))
  const files = call === null ? null : engineFiles(payload, call)
  const session =
    hasWayOut(payload) && gateway !== null
      ? createAttemptSession(gateway, owner.attemptId, sessionBody(payload, { agentId, commandId }))
      : null
  const input: Input = {
    prompt: payload.secrets?.prompt ?? payload.prompt,
    files: (payload.files ?? []).filter(({ upload }) => upload === undefined),
    hooks: payload.hooks ?? {},
    env: environmentFile(environmentOf(work)),
    engine: files === null ? null : { ...files, forwarder: gateway?.forwarder ?? '' },
  }
  const parser = parserOf(payload)
  const outputs = createOutputs({
    ...{ docker, secrets, spool },
    reader: () => (parser === null ? null : createEngineReader(parser())),
  })

  let loggedId = log.id
  /** Docker was asked to start it, or to give it its program, maybe by an earlier life: if it has not, it still may. */
  let startAsked = log.id !== null
  /** In this life, it was started or seen to run: then its end is seen as well, unless Docker is away. */
  let watched = false
  let stopping: Stopping | null = null
  /** Of one of the pool: when this life gave it its program, by the wall clock, and how often it had to start it anew. */
  let deliveredAtMs: number | null = null
  let restarts = 0
  let archiveReads = 0
  let left: Left | null = null
  let isReopened = false
  /** By `performance.now()`: a call of a model was under way. */
  let busyAtMs = Number.NEGATIVE_INFINITY

  /** Undefined for an engine that has nothing to use. */
  const usedOf = (used: SessionUsage | null) => (hasModel(payload) ? used : undefined)

  const causeOfStop = (): StopCause | null => (signal.aborted ? (signal.reason as StopCause) : null)
  const isLeaving = (): boolean => causeOfStop()?.type === 'stop'

  const run = async (): Promise<Ending> => {
    try {
      for (;;) {
        const ending = await step()
        if (ending === null) continue
        // Of what never ran nothing comes.
        if (!startAsked && !watched) outputs.nothingWritten()
        await outputs.endSpool({ goesOn: isLeaving() && ending === NOT_BEGUN })
        return ending
      }
    } finally {
      outputs.stop()
      session?.leave()
      await options.inputs.remove(owner.attemptId)
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
          return await gone()
        case 'stranger':
          return failed({ code: 'CONTAINER_START_FAILED', message: 'The name of the container is taken by another.' })
      }
    } catch (error) {
      return await afterSilence(error)
    }
  }

  /** Not started before it is logged: here alone silence may end the attempt. */
  const afterSilence = async (error: unknown): Promise<Ending | null> => {
    const ofGateway = error instanceof GatewayUnavailable || error instanceof GatewayRefused
    if (!(ofGateway || error instanceof DockerUnavailable || error instanceof DockerRefused)) throw error
    if (isLeaving() || (loggedId === null && signal.aborted)) return NOT_BEGUN
    if (loggedId === null && (performance.now() > giveUpAtMs || error instanceof GatewayRefused))
      return failed({ code: ofGateway ? 'GATEWAY_ERROR' : 'DOCKER_UNAVAILABLE', message: error.message })
    if (error instanceof DockerUnavailable && loggedId !== null) outputs.missed()
    await pause()
    return null
  }

  const pause = async (): Promise<void> => {
    await sleep(RETRY_MS, undefined, signal.aborted ? {} : { signal }).catch(() => {})
  }

  const create = async (): Promise<Ending | null> => {
    if (fitsPool(options, payload, input) && (await options.pool?.take(containerName(owner.attemptId)))) {
      crashPoint('container.taken')
      return null
    }
    if (hasWayOut(payload) && session === null)
      return failed({ code: 'GATEWAY_ERROR', message: 'This agent has no gateway: it was given no key of a provider.' })
    const prepared = prepare(options, work, session === null ? null : await session.open())
    if ('code' in prepared) return failed(prepared)
    const got = await brought()
    if (got.type !== 'brought') return got.type === 'stopped' ? null : failed(got)
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

  /** As a rule once, before the container is made. */
  const brought = (): Promise<Brought> =>
    broughtBy(payload, {
      ...{
        attemptId: owner.attemptId,
        inputs: options.inputs,
        conversations: options.conversations ?? NO_CONVERSATIONS,
      },
      ...{ workspaceBytes: resourcesOf(options, payload).workspaceBytes, signal },
    })

  const start = async (seen: Seen): Promise<Ending | null> => {
    const stray = strayMounts(seen.mounts, session !== null)
    if (stray.length > 0)
      return notStarted(seen, `The image declares volumes, whose size nothing bounds: ${stray}.`, startAsked)
    const got = await brought()
    if (got.type !== 'brought')
      return got.type === 'stopped' ? null : notStarted(seen, got.message, startAsked, got.code)
    try {
      await docker.put(seen.id, INPUT, inputTar(input, loggedId === null))
      if (got.files.length > 0) await docker.put(seen.id, INPUT, Readable.from(uploadsTar(got.files)))
    } catch (error) {
      if (error instanceof DockerRefused) return notStarted(seen, error.message, startAsked)
      throw error
    }
    // Of one that an earlier life has made, the socket may be gone.
    await session?.open()
    if (loggedId === null && !logged(seen.id)) {
      await pause()
      return null
    }
    loggedId = seen.id
    outputs.begin(await docker.attach(seen.id))
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
  const needsProgram = (seen: Seen): boolean => isOfPool(seen) && !outputs.isJoined()

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
    outputs.leavePulse()
    const { output, sent } = await docker.deliver(seen.id, program(scripted(options, work), input))
    watched = true
    if (isFirst) {
      outputs.begin(output)
      deliveredAtMs = Date.now()
    } else outputs.join(output)
    outputs.joined()
    await sent
    crashPoint('container.delivered')
    return null
  }

  /**
   * One of the pool that has ended without having begun: what was delivered was cut, or it was killed before. Its id is
   * logged, and what is logged never changes; so it is this one that gets another start.
   */
  const startAnew = async (seen: Seen): Promise<Ending | null> => {
    outputs.nothingWritten()
    if (signal.aborted) return NOT_BEGUN
    if (restarts++ >= RESTARTS_MAX)
      return failed({ code: 'CONTAINER_START_FAILED', message: 'The container ended before the prompt began.' })
    stopping = null
    const { output } = await docker.deliver(seen.id, program(scripted(options, work), input))
    outputs.beginAnew(output)
    deliveredAtMs = Date.now()
    try {
      await docker.start(seen.id)
    } catch (error) {
      if (error instanceof DockerRefused) return failed({ code: 'CONTAINER_START_FAILED', message: error.message })
      throw error
    }
    outputs.hasMissedNothing()
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
    session?.keepOpen()
    await outputs.keepSpooling(seen.id)
    if (payload.idleTimeoutMs !== undefined && !outputs.isJoined()) outputs.join(await docker.attach(seen.id))
    await stopIfDue(seen.id)
    const ended = docker.wait(seen.id, Math.max(1, waitMs()), stopping === null ? signal : null)
    await Promise.race([ended, ...outputs.over()])
    outputs.look()
    return null
  }

  const idleLeftMs = (): number => {
    const lastMs = outputs.lastMs()
    if (payload.idleTimeoutMs === undefined || lastMs === null) return Number.POSITIVE_INFINITY
    return Math.max(lastMs, busyAtMs) + payload.idleTimeoutMs - performance.now()
  }

  /** A model that thinks for long is no silence: its gateway hears it. */
  const isIdle = async (): Promise<boolean> => {
    if (idleLeftMs() > 0) return false
    if (session === null || !(await session.isBusy())) return true
    busyAtMs = performance.now()
    return false
  }

  const waitMs = (): number => {
    const mostMs = outputs.isOver() ? LAST_BYTE_TO_EXIT_MS + 100 : WAIT_MS
    return stopping === null ? Math.min(mostMs, Math.ceil(idleLeftMs())) : untilDueMs(stopping, performance.now())
  }

  const stopIfDue = async (id: string): Promise<void> => {
    const cause = causeOfStop()
    if (stopping === null && cause !== null) stopping = stoppingFrom(performance.now(), cause)
    if (stopping === null && (await isIdle())) stopping = stoppingFrom(performance.now(), { type: 'idle' })
    const due = stopping === null ? null : dueSignal(stopping, performance.now())
    if (stopping !== null && due !== null && (await docker.kill(id, due))) stopping.sent = due
  }

  const collect = async (seen: Seen): Promise<Ending | null> => {
    const begunAtMs = isOfPool(seen) ? await begunAt(seen) : null
    if (isOfPool(seen) && mayStartAnew(seen, begunAtMs !== null)) return await startAnew(seen)
    if (seen.status === 'created') return await gone('How the container ended is lost; it may have run.')
    crashPoint('container.exited')
    loggedId ??= seen.id
    // Before the session ends: Docker reads nothing of a container whose mounts are gone.
    const files = await leftIn(seen.id)
    const used = (await session?.end()) ?? null
    const read = await outputs.read(seen.id)
    const lastWords = lastWordsOf(read)
    const hasHooks = payload.hooks !== undefined
    const { exitCode, oomKilled } = seen
    const ofHooks = hasHooks ? endedFrom(lastWords) : null
    const reader = read.output?.reader ?? null
    const outcome = reader?.outcome(ofHooks?.engine ?? exitCode) ?? null
    const tookMs = begunAtMs === null ? seen.tookMs : between(begunAtMs, seen.finishedAtMs)
    const unwatched = outputs.hasMissed() || !watched
    // Before its deadline by as much as Docker may be late with noting a start.
    const wasLate = (tookMs ?? 0) >= work.timeoutMs
    const verdict = classify({
      ...{ exitCode, oomKilled, unwatched, wasLate },
      stoppedFor: stopping?.sent == null ? null : stopping.for,
      ...{ lastWords, hasHooks },
      engine: parser === null ? null : { outcome, gateway: used },
    })
    const end = { exitCode, oomKilled, tookMs, reason: verdict.reason }
    const result = resultOf({ payload, image }, end, read, files)
    if (hasHooks) result.hooks = ofHooks?.hooks ?? null
    if (parser !== null) Object.assign(result, engineResult(outcome, reader, usedOf(used)))
    const failure = verdict.failure === null && parser !== null && isEmpty(result) ? NO_CHANGES : verdict.failure
    return failure === null ? { ok: true, result } : Object.assign(failed(failure), { result })
  }

  /** By the wall clock; null where the prompt of one of the pool has not begun. Before it, nothing writes to stdout. */
  const begunAt = async ({ id }: Seen): Promise<number | null> => {
    if (deliveredAtMs !== null && (outputs.whole()?.stdout.text().bytes ?? 0) > 0) return deliveredAtMs
    const writtenAtMs = await docker.writtenAtMs(id, ONCE)
    return writtenAtMs === null ? null : (deliveredAtMs ?? writtenAtMs)
  }

  const gone = async (
    message = 'The container is gone, removed by somebody else; it may have run.',
  ): Promise<Ending> => {
    const used = (await session?.end()) ?? null
    const whole = outputs.whole()
    const result = resultOf(
      { payload, image },
      { exitCode: null, oomKilled: false, tookMs: null, reason: 'unknown' satisfies RunAgentReason },
      { output: whole, from: whole === null ? 'none' : 'stream' },
      options.artifacts.collected(owner.attemptId) ?? { ...NOTHING_LEFT, missing: 'unreadable' },
    )
    if (parser !== null) Object.assign(result, engineResult(null, whole?.reader ?? null, usedOf(used)))
    return Object.assign(failed({ code: 'INTERRUPTED', message }), { result })
  }

  /** What it has packed; read once, whoever began. In this life it is remembered: the spool is gone when it is uploaded. */
  const leftIn = async (id: string): Promise<Left> => {
    left ??= await readLeft(id)
    return left
  }

  const readLeft = async (id: string): Promise<Left> => {
    const { artifacts } = options
    const patterns = keptPatterns(payload)
    const before = artifacts.collected(owner.attemptId)
    if (before !== null) return before
    if (patterns.length === 0) return NOTHING_LEFT
    if (archiveReads++ >= ARCHIVE_READS_MAX) return { ...NOTHING_LEFT, missing: 'unreadable' }
    try {
      return await artifacts.collect(owner.attemptId, await docker.archive(id, `${INPUT}/${PACKED_FOLDER}`), patterns)
    } catch (error) {
      // An earlier life may have ended the session: its folder is made anew, and Docker asked again.
      if (error instanceof DockerRefused && session !== null && !isReopened) {
        await session.reopen()
        isReopened = true
        return readLeft(id)
      }
      // Of a container that an agent of before has made.
      if (error instanceof DockerRefused) return { ...NOTHING_LEFT, missing: 'unreadable' }
      throw error instanceof ArchiveBroken ? new DockerUnavailable(`archive: ${error.message}`) : error
    }
  }

  return { run }
}

const NO_CONVERSATIONS: Conversations = { find: async () => ({ type: 'none' }) }

const NO_CHANGES: Failed = { code: 'NO_CHANGES', message: 'The engine has left neither an answer nor a file.' }

/** Null where the clock was set back between. */
const between = (fromMs: number, untilMs: number | null): number | null =>
  untilMs === null || untilMs < fromMs ? null : Math.round(untilMs - fromMs)
