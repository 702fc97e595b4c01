/** Submit, read, list, cancel. */
import { setImmediate } from 'node:timers/promises'
import {
  COMMAND_FIELDS,
  COMMAND_STATUSES,
  COMMAND_TYPES,
  CommandRecord,
  CommandSummary,
  type EngineDefinition,
  Id,
  Instant,
  Label,
  type RunAgentSubmission,
  type Submission,
  submissionSchema,
} from '@agent-executor/protocol'
import { Type } from '@agent-executor/protocol/typebox'
import { canonicalJson, sha256 } from '@agent-executor/runtime'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { type Command, newestAttempt } from '../../lifecycle/command.ts'
import { uploadsOf } from '../../lifecycle/files.ts'
import { commandRecord, instant } from '../../lifecycle/record.ts'
import { resumed } from '../../lifecycle/resume.ts'
import { commandOf, type LookedUp, submissionProblems } from '../../lifecycle/submission.ts'
import { transition } from '../../lifecycle/transition.ts'
import { definitionIn, engineIn } from '../../profiles/document.ts'
import type { IdempotencyKey, ListQuery, Submitted } from '../../store/store.ts'
import type { App, Context } from '../context.ts'
import { ApiError, RETRY_LATER } from '../errors.ts'
import { createInFlight } from '../in-flight.ts'
import { profileRun } from '../profile-request.ts'

export const CommandIdParams = Type.Object({ commandId: Id })

/** Comma-separated names out of a list, each at most once. */
const Names = (values: readonly string[]) =>
  Type.String({ pattern: `^(${values.join('|')})(,(${values.join('|')}))*$`, maxLength: 2000 })

const Fields = Type.Optional(Names(COMMAND_FIELDS))
const PAGE_MAX = 1000
/** About 10 ms of reading. */
const SLICE_MAX = 200

const ListParameters = Type.Object(
  {
    limit: Type.Optional(Type.Integer({ minimum: 1, maximum: PAGE_MAX })),
    cursor: Type.Optional(Type.String({ pattern: '^[A-Za-z0-9_-]{1,200}$' })),
    status: Type.Optional(Names(COMMAND_STATUSES)),
    type: Type.Optional(Names(COMMAND_TYPES)),
    agentId: Type.Optional(Id),
    label: Type.Optional(Label),
    createdFrom: Type.Optional(Instant),
    createdTo: Type.Optional(Instant),
    // SQLite's text functions end at a NUL.
    text: Type.Optional(Type.String({ minLength: 1, maxLength: 200, pattern: '^[^\\0]*$' })),
    fields: Fields,
  },
  { additionalProperties: false },
)

/** May be absent altogether, which Fastify shows to the schema as null. */
const CancelBody = Type.Union([
  Type.Object(
    { reason: Type.Optional(Type.String({ minLength: 1, maxLength: 1000 })) },
    { additionalProperties: false },
  ),
  Type.Null(),
])

const EventRecord = Type.Object({
  seq: Type.Integer(),
  at: Instant,
  type: Type.String(),
  from: Type.Union([Type.String(), Type.Null()]),
  to: Type.Union([Type.String(), Type.Null()]),
  attempt: Type.Union([Type.Integer(), Type.Null()]),
  agentId: Type.Union([Type.String(), Type.Null()]),
  detail: Type.Unknown(),
})

export const notFound = (commandId: string) => new ApiError('COMMAND_NOT_FOUND', `There is no command ${commandId}.`)

export function commandRoutes(app: App, context: Context): void {
  const { store, documents, policy, limits, nowMs, newId } = context

  const read = async (commandId: string): Promise<CommandRecord> => {
    const found = await store.get(commandId)
    if (found === undefined) throw notFound(commandId)
    return commandRecord(found.command, found.attempts, nowMs())
  }

  const inFlight = createInFlight(limits.inFlightBytesMax, limits.bodyBytesMax)
  const queueFull = () => new ApiError('QUEUE_FULL', undefined, { headers: RETRY_LATER })
  /** In a flood, reading and parsing would be most of what a refusal costs. A key may be that of a command that exists. */
  const refuseUnread = (request: FastifyRequest, _reply: FastifyReply, done: () => void): void => {
    if (store.isFull() && request.headers['idempotency-key'] === undefined) throw queueFull()
    done()
  }

  const commandFor = async (submission: Submission, now: number, engine: EngineDefinition | null): Promise<Command> => {
    const named = profileNamed(submission)
    const run = named && (await profileRun(context, named, submission.timeoutMs))
    const resume = await resumeOf(submission, run?.payload.engineDefinition ?? engine)
    return commandOf(submission, newId(), now, { engine, run, resume }, limits)
  }

  /** The one that a submission names by itself, without a profile; null where there is none. */
  const engineNamed = async ({ type, payload }: Submission): Promise<EngineDefinition | null> => {
    if (type !== 'RUN_AGENT' || payload.engine === undefined) return null
    const found = engineIn(await documents.newest(), payload.engine)
    return found === undefined ? null : definitionIn(found)
  }

  const resumeOf = async (submission: Submission, engine: EngineDefinition | null): Promise<LookedUp['resume']> => {
    const commandId = commandToResume(submission)
    if (commandId === null || engine === null) return null
    const found = await store.get(commandId)
    const answer = resumed(engine, found?.command)
    if (answer.ok) return answer.resume
    const path = '/payload/resume'
    throw new ApiError(answer.code, `${path} ${answer.message}`, { details: [{ path, message: answer.message }] })
  }

  const submit = async (
    submission: Submission,
    now: number,
    { key, engine }: { key: IdempotencyKey | null; engine: EngineDefinition | null },
  ): Promise<Submitted> => {
    const command = await commandFor(submission, now, engine)
    return store.submit(command, key, uploadsOf(command))
  }

  app.post(
    '/commands',
    {
      onRequest: [refuseUnread, inFlight.onRequest],
      onSend: inFlight.onSend,
      bodyLimit: limits.bodyBytesMax,
      schema: { body: submissionSchema(limits), response: { 201: CommandRecord } },
    },
    async (request, reply) => {
      const now = nowMs()
      const key = idempotencyKey(request.headers['idempotency-key'], request.body)
      const engine = await engineNamed(request.body)
      const problems = submissionProblems(request.body, now, { maxima: limits, engine })
      // A replay is answered as the first time was, though its deadline may have passed since, or its profile be another.
      const isLookedUp = profileNamed(request.body) !== null || commandToResume(request.body) !== null
      const mayDiffer = problems.length > 0 || isLookedUp
      const replay = mayDiffer && key !== null ? await store.replay(key) : undefined
      if (problems.length > 0 && replay === undefined)
        throw new ApiError('INVALID_REQUEST', `${problems[0]?.path} ${problems[0]?.message}`, { details: problems })
      const submitted = replay ?? (await submit(request.body, now, { key, engine }))
      if (submitted.outcome === 'conflict')
        throw new ApiError('IDEMPOTENCY_KEY_REUSED', undefined, {
          details: [{ path: 'headers/idempotency-key', message: `was used for command ${submitted.commandId}` }],
        })
      if (submitted.outcome === 'full') throw queueFull()
      if (submitted.outcome === 'uploadsMissing') throw uploadsMissing(request.body, submitted.missing)
      const { commandId, type } = submitted.command
      const replayed = submitted.outcome === 'replayed'
      if (replayed) reply.header('idempotent-replayed', 'true')
      request.log.info({ commandId, type, replayed }, 'command submitted')
      return reply
        .status(201)
        .header('location', `/commands/${commandId}`)
        .send(replayed ? await read(commandId) : commandRecord(submitted.command, [], now))
    },
  )

  /**
   * A page is read in slices, so that other requests get their turn between them. A slice that the store cut short ends
   * the page; but a plain list, which shows nothing of what makes commands large, goes on to its limit.
   */
  const listed = async (query: ListQuery, fields: readonly string[]) => {
    const { cursor: _, limit: __, ...filters } = query
    const isPlain = Object.values(filters).every((filter) => filter === null) && !fields.some(isLarge)
    const items: Partial<CommandRecord>[] = []
    const now = nowMs()
    for (let { cursor } = query; ; ) {
      const limit = Math.min(SLICE_MAX, query.limit - items.length)
      const slice = await store.list({ ...query, cursor, limit })
      for (const command of slice.commands) items.push(pick(commandRecord(command, command.attempts, now), fields))
      cursor = slice.cursor
      const isOver = items.length === query.limit || (slice.commands.length < limit && !isPlain)
      if (cursor === null || isOver) return { items, cursor }
      await setImmediate()
    }
  }

  app.get(
    '/commands',
    {
      schema: {
        querystring: ListParameters,
        response: {
          200: Type.Union([
            Type.Array(Type.Partial(CommandRecord)),
            Type.Object({
              items: Type.Array(Type.Partial(CommandRecord)),
              nextCursor: Type.Union([Type.String(), Type.Null()]),
            }),
          ]),
        },
      },
    },
    async (request, reply) => {
      const { query } = request
      const limit = query.limit ?? PAGE_MAX
      const names = (text: string | undefined) => (text === undefined ? null : text.split(','))
      const fields = names(query.fields) ?? Object.keys(CommandSummary.properties)
      const asked: ListQuery = {
        limit,
        cursor: query.cursor === undefined ? null : commandIdOf(query.cursor),
        statuses: names(query.status),
        types: names(query.type),
        agentId: query.agentId ?? null,
        label: query.label ?? null,
        createdFromMs: timeOf('createdFrom', query.createdFrom),
        createdToMs: timeOf('createdTo', query.createdTo),
        text: query.text ?? null,
      }
      const { items, cursor } = await listed(asked, fields)
      const nextCursor = cursor === null ? null : Buffer.from(cursor).toString('base64url')
      if (nextCursor !== null) {
        const next = new URLSearchParams({
          ...(query as Record<string, string>),
          limit: String(limit),
          cursor: nextCursor,
        })
        reply.header('link', `</commands?${next}>; rel="next"`)
      }
      // The original simple API answers a bare array; whoever pages gets the envelope.
      return query.limit === undefined && query.cursor === undefined ? items : { items, nextCursor }
    },
  )

  app.get(
    '/commands/:commandId',
    {
      schema: {
        params: CommandIdParams,
        querystring: Type.Object({ fields: Fields }, { additionalProperties: false }),
        response: { 200: Type.Partial(CommandRecord) },
      },
    },
    async (request) => {
      const record = await read(request.params.commandId)
      return request.query.fields === undefined ? record : pick(record, request.query.fields.split(','))
    },
  )

  app.get(
    '/commands/:commandId/events',
    { schema: { params: CommandIdParams, response: { 200: Type.Array(EventRecord) } } },
    async (request) => {
      const { commandId } = request.params
      const events = await store.events(commandId)
      if (events.length === 0) throw notFound(commandId)
      return events.map(({ atMs, commandId: _, ...event }) => ({ ...event, at: instant(atMs) }))
    },
  )

  const cancel = async (commandId: string, reason: string): Promise<{ final: boolean; record: CommandRecord }> => {
    const now = nowMs()
    const decision = await store.transition('cancel', commandId, now, (command, server) => {
      const recovering = server.recovering !== null
      const moved = transition(command, { type: 'cancel', nowMs: now, reason, recovering }, policy)
      return { command, change: moved.ok ? { command: moved.command, entry: moved.entry } : null }
    })
    if (decision === undefined) throw notFound(commandId)
    const after = decision.change?.command ?? decision.command
    if (decision.change === null && (after.status === 'COMPLETED' || after.status === 'FAILED'))
      throw new ApiError('COMMAND_FINAL', `Command ${commandId} is ${after.status}.`)
    app.log.info({ commandId, attempt: newestAttempt(after)?.number, status: after.status }, 'cancel')
    return { final: after.status === 'CANCELLED', record: await read(commandId) }
  }

  const cancelResponses = { 200: CommandRecord, 202: CommandRecord }
  app.post(
    '/commands/:commandId/cancel',
    { schema: { params: CommandIdParams, body: CancelBody, response: cancelResponses } },
    async (request, reply) => {
      const { final, record } = await cancel(request.params.commandId, request.body?.reason ?? 'cancelled by request')
      return reply.status(final ? 200 : 202).send(record)
    },
  )
  app.delete(
    '/commands/:commandId',
    { schema: { params: CommandIdParams, response: cancelResponses } },
    async (request, reply) => {
      const { final, record } = await cancel(request.params.commandId, 'cancelled by request')
      return reply.status(final ? 200 : 202).send(record)
    },
  )
}

const uploadsMissing = ({ payload }: Submission, missing: readonly string[]): ApiError => {
  const { files = [] } = payload as RunAgentSubmission
  const details = files.flatMap(({ upload = '' }, index) =>
    missing.includes(upload)
      ? [{ path: `/payload/files/${index}/upload`, message: 'is not there: upload it first, or again' }]
      : [],
  )
  return new ApiError('UPLOAD_MISSING', `${details[0]?.path} ${details[0]?.message}`, { details })
}

/** The payload where it names a profile, else null. */
const profileNamed = ({ type, payload }: Submission): (RunAgentSubmission & { profile: string }) | null => {
  const { profile } = type === 'RUN_AGENT' ? (payload as RunAgentSubmission) : {}
  return profile === undefined ? null : { ...(payload as RunAgentSubmission), profile }
}

const commandToResume = ({ type, payload }: Submission): string | null =>
  (type === 'RUN_AGENT' ? (payload as RunAgentSubmission).resume : undefined) ?? null

/** Bare or as a quoted structured-field string; at most 255 visible ASCII characters. */
const idempotencyKey = (header: string | string[] | undefined, body: unknown): IdempotencyKey | null => {
  if (header === undefined) return null
  const key = typeof header === 'string' ? (/^"(.*)"$/.exec(header)?.[1] ?? header) : ''
  if (!/^[\x21-\x7e]{1,255}$/.test(key)) throw new ApiError('INVALID_IDEMPOTENCY_KEY')
  return { key, bodySha256: sha256(canonicalJson(body)) }
}

const commandIdOf = (cursor: string): string => {
  const id = Buffer.from(cursor, 'base64url').toString('utf8')
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/.test(id)) throw invalidQuery('cursor', 'is not one that this server made')
  return id
}

const timeOf = (name: string, text: string | undefined): number | null => {
  if (text === undefined) return null
  const timeMs = Date.parse(text)
  // The format allows a leap second.
  if (Number.isNaN(timeMs)) throw invalidQuery(name, 'must be a date that exists')
  return timeMs
}

const invalidQuery = (name: string, message: string): ApiError =>
  new ApiError('INVALID_REQUEST', `query/${name} ${message}`, { details: [{ path: `query/${name}`, message }] })

/** Of no known size, while the other fields are small. */
const isLarge = (field: string): boolean => field === 'payload' || field === 'result'

const pick = (record: CommandRecord, fields: readonly string[]): Partial<CommandRecord> =>
  Object.fromEntries(Object.entries(record).filter(([name]) => fields.includes(name)))
