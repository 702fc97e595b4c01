/**
 * Docker, as far as RUN_AGENT needs it. Every call has a deadline, and ends in an answer, in `DockerRefused` (Docker
 * answered, and nothing was done) or in `DockerUnavailable` (no answer: what was asked for may have happened).
 */
import { access } from 'node:fs/promises'
import type { Duplex, Readable } from 'node:stream'
import type Dockerode from 'dockerode'
import { attemptOf, LABELS } from './create-options.ts'

export class DockerUnavailable extends Error {
  override name = 'DockerUnavailable'
}

export class DockerRefused extends Error {
  override name = 'DockerRefused'
  readonly statusCode: number

  constructor(statusCode: number, message: string) {
    super(message)
    this.statusCode = statusCode
  }
}

/** A container as Docker shows it. */
export type Seen = {
  id: string
  name: string
  /** `created` has never run, which `exited` has; there are others between. */
  status: string
  exitCode: number
  oomKilled: boolean
  tookMs: number | null
  /** On the wall clock; null where it has not ended. */
  finishedAtMs: number | null
  labels: Readonly<Record<string, string>>
  /** Where its volumes and binds are. */
  mounts: string[]
}

/** A container of this agent, in a list. */
export type Listed = {
  id: string
  name: string
  /** That it was made for, or whose name it was given; null for one that waits in the pool. */
  attemptId: string | null
  /** With what it was made for the pool; null for one that was not. */
  configuration: string | null
  imageId: string
  isRunning: boolean
  createdAtMs: number
}

export type Docker = ReturnType<typeof createDocker>

const CALL_MS = 15_000
/** An image is unpacked, a disk is slow. */
const CREATE_MS = 60_000
const PROBE_MS = 5000
const PROBE_EACH_MS = 2000
/** How long after a start Docker may note it, on a busy machine: the end of a quick container is before that. */
const START_NOTED_MS = 10_000
const NOT_MODIFIED = 304
const NOT_FOUND = 404
const CONFLICT = 409

export function createDocker(options: {
  socketPath: string
  /** It answers now, or no more, and why. */
  onChange: (up: boolean, reason: string) => void
}) {
  const { socketPath } = options
  let dockerode: Promise<Dockerode> | null = null
  /** Loaded where there is a socket: it takes 20 MB, which an agent without Docker can do without. */
  const loaded = (): Promise<Dockerode> => {
    dockerode ??= import('dockerode').then(({ default: Client }) => new Client({ socketPath }))
    return dockerode
  }
  let up = false
  let told = false
  let lastReason = 'it was not asked yet'
  let probing: NodeJS.Timeout | undefined
  let unwatched = false

  const change = (now: boolean, reason: string): void => {
    lastReason = reason
    if (told && up === now) return
    told = true
    up = now
    options.onChange(up, reason)
  }

  const call = async <Answer>(
    what: string,
    deadlineMs: number,
    body: (api: Dockerode, abortSignal: AbortSignal) => Promise<Answer>,
  ): Promise<Answer> => {
    const deadline = new AbortController()
    // Ended with the answer: the signal would otherwise end the stream that came with it.
    const timer = setTimeout(() => deadline.abort(), deadlineMs)
    try {
      const answer = loaded().then((api) => body(api, deadline.signal))
      return await Promise.race([answer, aborted(deadline.signal)])
    } catch (error) {
      const { statusCode } = error as { statusCode?: number }
      const message = error instanceof Error ? error.message : String(error)
      if (statusCode !== undefined) throw new DockerRefused(statusCode, message.trim())
      const reason = deadline.signal.aborted ? `no answer in ${deadlineMs} ms` : message
      throw new DockerUnavailable(`${what}: ${reason}`)
    } finally {
      clearTimeout(timer)
    }
  }

  const probe = async (): Promise<void> => {
    try {
      // Not `ping`, which a Docker answers that does nothing else any more.
      await access(socketPath)
      await call('list', PROBE_MS, (api, abortSignal) => api.listContainers({ limit: 1, abortSignal }))
      change(true, 'it answers')
    } catch (error) {
      change(false, error instanceof Error ? error.message : String(error))
    }
  }

  /** False where Docker refuses with one of these statuses. */
  const unless = async (statusCodes: readonly number[], body: () => Promise<unknown>): Promise<boolean> => {
    try {
      await body()
      return true
    } catch (error) {
      if (error instanceof DockerRefused && statusCodes.includes(error.statusCode)) return false
      throw error
    }
  }

  return {
    up: (): boolean => up,
    /** Why it is up, or not. */
    reason: (): string => lastReason,

    /** Asks whether it is there, from now on again and again. */
    watch(): void {
      void probe().finally(function again() {
        if (unwatched) return
        probing = setTimeout(() => void probe().finally(again), PROBE_EACH_MS)
        probing.unref()
      })
    },
    unwatch(): void {
      unwatched = true
      clearTimeout(probing)
    },

    /** `taken`: a container has this name already. Refused with 404 where the image is missing. */
    async create(options: Dockerode.ContainerCreateOptions): Promise<'created' | 'taken'> {
      const { name, ...body } = options
      // As they are, dockerode would put all of them into the URL as well.
      const parts = { _query: { name }, _body: body }
      const made = await unless([CONFLICT], () =>
        call('create', CREATE_MS, (api, abortSignal) =>
          api.createContainer(Object.assign(parts, { abortSignal }) as Dockerode.ContainerCreateOptions),
        ),
      )
      return made ? 'created' : 'taken'
    },

    /** By id or name; null where there is none. */
    async inspect(id: string): Promise<Seen | null> {
      try {
        return seenOf(
          await call('inspect', CALL_MS, (api, abortSignal) => api.getContainer(id).inspect({ abortSignal })),
        )
      } catch (error) {
        if (error instanceof DockerRefused && error.statusCode === NOT_FOUND) return null
        throw error
      }
    },

    /** Of the image with this name, whichever of its names it is; null where there is none. */
    async imageId(image: string): Promise<string | null> {
      let id: string | null = null
      const body = async () => {
        const inspect = (api: Dockerode, abortSignal: AbortSignal) =>
          api.getImage(image).inspect({ abortSignal } as object)
        id = (await call('image', CALL_MS, inspect)).Id
      }
      await unless([NOT_FOUND], body)
      return id
    },

    /** Gives the name of one container, which it has to have now, to no other: of several calls one succeeds. */
    async rename(from: string, to: string): Promise<'renamed' | 'gone' | 'taken'> {
      try {
        await call('rename', CALL_MS, (api, abortSignal) => api.getContainer(from).rename({ name: to, abortSignal }))
        return 'renamed'
      } catch (error) {
        if (!(error instanceof DockerRefused)) throw error
        if (error.statusCode === NOT_FOUND) return 'gone'
        if (error.statusCode === CONFLICT) return 'taken'
        throw error
      }
    },

    /** Whether a file of a volume was written since it was put there, empty and without a time: when, last; null if not. */
    async writtenAtMs(id: string, path: string): Promise<number | null> {
      let stat = { size: 0, mtime: '1970-01-01T00:00:00Z' }
      await unless([NOT_FOUND], async () => {
        const answer = await call('archive', CALL_MS, (api, abortSignal) =>
          api.getContainer(id).infoArchive({ path, abortSignal } as never),
        )
        const { headers } = answer as unknown as { headers: Record<string, string> }
        ;(answer as unknown as Readable).destroy()
        stat = JSON.parse(Buffer.from(headers['x-docker-container-path-stat'] ?? '', 'base64').toString())
      })
      const mtimeMs = Date.parse(stat.mtime)
      return stat.size > 0 || mtimeMs > 0 ? mtimeMs : null
    },

    async version(): Promise<{ engine: string; api: string }> {
      const { Version, ApiVersion } = await call('version', CALL_MS, (api, abortSignal) =>
        // The types do not know that it takes options.
        (api.version as (options: object) => Promise<Dockerode.DockerVersion>)({ abortSignal }),
      )
      return { engine: Version, api: ApiVersion }
    },

    /** Whether it has the OCI runtime; empty is its default. */
    async hasRuntime(name: string): Promise<boolean> {
      if (name === '') return true
      type Info = { Runtimes: Readonly<Record<string, unknown>> }
      const info = (api: Dockerode, abortSignal: AbortSignal) =>
        // The types do not know that it takes options.
        api.info({ abortSignal } as never) as unknown as Promise<Info>
      const { Runtimes } = await call('info', CALL_MS, info)
      return Object.hasOwn(Runtimes, name)
    },

    /** Unpacks a tar below `path`, which has to be in a volume. */
    async put(id: string, path: string, tar: Buffer | Readable): Promise<void> {
      await call('put', CREATE_MS, (api, abortSignal) =>
        api.getContainer(id).putArchive(tar, { path, abortSignal } as never),
      )
    },

    /** A folder or file of a volume, as a tar. Refused with 404 where there is none. */
    archive: (id: string, path: string): Promise<Readable> =>
      call('archive', CALL_MS, async (api, abortSignal) => {
        const opts = { path, abortSignal } as { path: string }
        return (await api.getContainer(id).getArchive(opts)) as unknown as Readable
      }),

    /** Only where its status is `created`: one that has exited would run again. */
    async start(id: string): Promise<void> {
      // 304, it runs already, is as good.
      await unless([NOT_MODIFIED], () =>
        call('start', CREATE_MS, (api, abortSignal) => api.getContainer(id).start({ abortSignal })),
      )
    },

    /** Its output from now on; of frames, for `createDemultiplexer`. */
    attach: (id: string): Promise<Readable> =>
      call('attach', CALL_MS, async (api, abortSignal) => {
        const opts = { stream: true, stdout: true, stderr: true, abortSignal }
        return (await api.getContainer(id).attach(opts)) as unknown as Readable
      }),

    /**
     * The same, and the program goes to its standard input, which ends with that. `sent` resolves when Docker has taken
     * it, which it may do before the container is started, or when the connection is over.
     */
    deliver: (id: string, program: Buffer): Promise<{ output: Readable; sent: Promise<void> }> =>
      call('attach', CALL_MS, async (api, abortSignal) => {
        const opts = { stream: true, stdin: true, stdout: true, stderr: true, hijack: true, abortSignal }
        const output = (await api.getContainer(id).attach(opts)) as unknown as Duplex
        const sent = new Promise<void>((resolve) => {
          output.on('error', () => resolve()).on('close', () => resolve())
          output.end(program, () => resolve())
        })
        return { output, sent }
      }),

    /** The output that Docker has kept, from the beginning; of frames. For one that has exited. */
    logs: (id: string): Promise<Readable> =>
      call('logs', CALL_MS, async (api, abortSignal) => {
        // Without `follow` dockerode gives the whole as one value, and parses what looks like JSON.
        const opts = { follow: true as const, stdout: true, stderr: true, abortSignal }
        return (await api.getContainer(id).logs(opts)) as unknown as Readable
      }),

    /** Resolves when it does not run, after `ms`, or when `wake` aborts. */
    async wait(id: string, ms: number, wake: AbortSignal | null): Promise<void> {
      const ended = new AbortController()
      const end = () => ended.abort()
      const timer = setTimeout(end, ms)
      wake?.addEventListener('abort', end, { once: true })
      if (wake?.aborted) end()
      try {
        const exited = loaded().then((api) => api.getContainer(id).wait({ abortSignal: ended.signal }))
        await Promise.race([exited, aborted(ended.signal)])
      } catch (error) {
        const { statusCode } = error as { statusCode?: number }
        if (statusCode === NOT_FOUND || ended.signal.aborted) return
        throw new DockerUnavailable(`wait: ${error instanceof Error ? error.message : String(error)}`)
      } finally {
        clearTimeout(timer)
        wake?.removeEventListener('abort', end)
      }
    },

    /** False where it does not run, or is not there. */
    async kill(id: string, signal: 'SIGTERM' | 'SIGUSR2' | 'SIGKILL'): Promise<boolean> {
      const body = () => call('kill', CALL_MS, (api, abortSignal) => api.getContainer(id).kill({ signal, abortSignal }))
      return unless([NOT_FOUND, CONFLICT], body)
    },

    /** With its volume, also if it runs. Nothing where it is gone, or going. */
    async remove(id: string): Promise<void> {
      await unless([NOT_FOUND, CONFLICT], () =>
        call('remove', CREATE_MS, (api, abortSignal) =>
          api.getContainer(id).remove({ force: true, v: true, abortSignal }),
        ),
      )
    },

    /** Every container with this agent's label, running or not. */
    async list(agentId: string): Promise<Listed[]> {
      const filters = { label: [`${LABELS.agent}=${agentId}`] }
      const found = await call('list', CALL_MS, (api, abortSignal) =>
        api.listContainers({ all: true, filters, abortSignal }),
      )
      return found.map(({ Id, Names, Labels, ImageID, State, Created }) => {
        const name = (Names[0] ?? '').slice(1)
        const configuration = Labels[LABELS.pool] ?? null
        const attemptId = configuration === null ? Labels[LABELS.attempt] : attemptOf(name)
        return {
          ...{ id: Id, name, configuration, imageId: ImageID, isRunning: State === 'running' },
          ...{ attemptId: attemptId ?? null, createdAtMs: Created * 1000 },
        }
      })
    },
  }
}

/**
 * Rejects when the signal aborts. dockerode alone never settles where a connection breaks off in the middle of an answer,
 * which `wait` begins at once.
 */
const aborted = (signal: AbortSignal): Promise<never> =>
  new Promise((_, reject) => {
    if (signal.aborted) reject(new Error('aborted'))
    signal.addEventListener('abort', () => reject(new Error('aborted')), { once: true })
  })

const seenOf = ({ Id, Name, State, Config, Mounts }: Dockerode.ContainerInspectInfo): Seen => {
  const finishedAtMs = Date.parse(State.FinishedAt)
  const tookMs = finishedAtMs - Date.parse(State.StartedAt)
  const isQuick = tookMs < 0 && tookMs > -START_NOTED_MS
  return {
    id: Id,
    name: Name.slice(1),
    status: State.Status,
    exitCode: State.ExitCode,
    oomKilled: State.OOMKilled,
    // One that has not ended has the year 1 there.
    tookMs: isQuick ? 0 : tookMs >= 0 ? tookMs : null,
    finishedAtMs: finishedAtMs > 0 ? finishedAtMs : null,
    labels: Config.Labels,
    mounts: Mounts.map(({ Destination }) => Destination),
  }
}
