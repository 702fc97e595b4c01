/** Files that clients bring for runs, and those that attempts leave: agents upload them, clients fetch them. */
import {
  ARTIFACT_LIST_BYTES_MAX,
  ArtifactList,
  ArtifactsWanted,
  ATTEMPT_ID_PATTERN,
  BLOB_PART_BYTES_MAX,
  BlobCommitted,
  CommandArtifacts,
  LogUploader,
  parseAttemptId,
  Sha256,
  UploadRecord,
} from '@agent-executor/protocol'
import { Type } from '@agent-executor/protocol/typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { lastGrantedAttempt } from '../../lifecycle/command.ts'
import { blobRefusal, namedInResult, stateOf, takeList } from '../../lifecycle/files.ts'
import { instant } from '../../lifecycle/record.ts'
import type { ArtifactView } from '../../store/files.ts'
import { sendContent } from '../content.ts'
import type { App, Context } from '../context.ts'
import { ApiError } from '../errors.ts'
import { createInFlight } from '../in-flight.ts'
import { CommandIdParams, notFound } from './commands.ts'

export const AttemptParams = Type.Object({ attemptId: Type.String({ pattern: ATTEMPT_ID_PATTERN, maxLength: 111 }) })
const BlobParams = Type.Object({ ...AttemptParams.properties, sha256: Sha256 })
const Sha256Params = Type.Object({ sha256: Sha256 })
const ArtifactParams = Type.Object({ ...CommandIdParams.properties, '*': Type.String({ minLength: 1 }) })
const AttemptQuery = Type.Object(
  { attempt: Type.Optional(Type.Integer({ minimum: 1, maximum: 2_147_483_647 })) },
  { additionalProperties: false },
)
const DigestQuery = Type.Object({ sha256: Type.Optional(Sha256) }, { additionalProperties: false })

export function fileRoutes(app: App, context: Context): void {
  const { blobs, files, limits } = context
  const inFlight = createInFlight(limits.inFlightBytesMax, BLOB_PART_BYTES_MAX)

  /** Known before the body comes: it is not read, and above all not parsed. */
  const refuseUnread = (request: FastifyRequest, _reply: FastifyReply, done: () => void): void => {
    if (!/^application\/octet-stream\s*(;|$)/i.test(request.headers['content-type'] ?? ''))
      throw new ApiError('UNSUPPORTED_MEDIA_TYPE')
    done()
  }
  const refuseLarge = (request: FastifyRequest, _reply: FastifyReply, done: () => void): void => {
    if (Number(request.headers['content-length'] ?? 0) > limits.uploadBytesMax) throw tooLarge()
    done()
  }
  const tooLarge = (): ApiError =>
    new ApiError('BODY_TOO_LARGE', `An upload has at most ${limits.uploadBytesMax} bytes (UPLOAD_BYTES_MAX).`, {
      headers: { connection: 'close' },
    })

  app.post(
    '/uploads',
    {
      onRequest: [refuseUnread, refuseLarge],
      config: { bytes: 'stream' },
      schema: { querystring: DigestQuery, response: { 201: UploadRecord } },
    },
    async (request, reply) => {
      const content = request.body as AsyncIterable<Buffer> | undefined
      const received = await blobs.receive(content ?? nothing(), {
        bytesMax: limits.uploadBytesMax,
        expected: request.query.sha256 ?? null,
      })
      if (received.type === 'tooLarge') throw tooLarge()
      const { sha256 } = received
      if (received.type === 'mismatch')
        throw new ApiError('CONTENT_MISMATCH', `What came has the SHA-256 ${sha256}.`, {
          details: [{ path: 'query/sha256', message: `is not that of what came, ${sha256}` }],
        })
      request.log.info({ sha256, bytes: received.bytes }, 'upload kept')
      return reply
        .status(201)
        .header('location', `/uploads/${sha256}`)
        .send(await uploadRecord(sha256))
    },
  )

  const uploadRecord = async (sha256: string): Promise<UploadRecord> => {
    const blob = await files.blob(sha256)
    if (blob === undefined) throw blobNotFound(sha256)
    return { sha256, bytes: blob.bytes, expiresAt: blob.lookAtMs === null ? null : instant(blob.lookAtMs) }
  }

  app.get('/uploads/:sha256', { schema: { params: Sha256Params, response: { 200: UploadRecord } } }, async (request) =>
    uploadRecord(request.params.sha256),
  )

  app.get('/blobs/:sha256', { schema: { params: Sha256Params } }, async (request, reply) => {
    const { sha256 } = request.params
    const blob = await files.blob(sha256)
    if (blob === undefined) throw blobNotFound(sha256)
    return sendContent(request, reply, blobs, { ...blob, name: sha256 }, () => blobNotFound(sha256))
  })

  app.put(
    '/attempts/:attemptId/artifacts',
    {
      onRequest: [inFlight.onRequest],
      onSend: inFlight.onSend,
      bodyLimit: ARTIFACT_LIST_BYTES_MAX,
      schema: {
        params: AttemptParams,
        querystring: LogUploader,
        body: ArtifactList,
        response: { 200: ArtifactsWanted },
      },
    },
    async (request) => {
      const { commandId, number } = parseAttemptId(request.params.attemptId)
      const { answer } = await files.change(commandId, number, request.query.agentId, (facts) =>
        takeList(facts, request.query, request.body, limits.artifactBytesMax),
      )
      if (!answer.ok) throw new ApiError(answer.code, answer.message)
      return { wanted: answer.wanted }
    },
  )

  app.put(
    '/attempts/:attemptId/blobs/:sha256',
    {
      onRequest: [refuseUnread, inFlight.onRequest],
      onSend: inFlight.onSend,
      bodyLimit: BLOB_PART_BYTES_MAX,
      config: { bytes: true },
      schema: { params: BlobParams, querystring: LogUploader, response: { 202: BlobCommitted } },
    },
    async (request, reply) => {
      const { attemptId, sha256 } = request.params
      const { commandId, number } = parseAttemptId(attemptId)
      const { bytes, firstByte, content } = rangeOf(request.headers['content-range'], request.body)
      const facts = await files.facts(commandId, number, request.query.agentId)
      const refusal = blobRefusal(facts, request.query, { sha256, bytes })
      if (refusal !== null) throw new ApiError(refusal.code, refusal.message)
      if (facts.has(sha256)) return reply.status(202).send({ committed: bytes })
      const appended = await blobs.append(attemptId, { sha256, bytes, firstByte, content })
      if (appended.type === 'mismatch') throw new ApiError('CONTENT_MISMATCH')
      if (appended.type === 'gap')
        throw new ApiError('BLOB_GAP', `The server has ${appended.bytes} bytes.`, { committed: appended.bytes })
      if (appended.whole) request.log.info({ commandId, attempt: number, sha256, bytes }, 'artifact kept')
      return reply.status(202).send({ committed: appended.bytes })
    },
  )

  const viewed = async (commandId: string, attempt: number | null): Promise<ArtifactView> => {
    const view = await files.view(commandId, attempt)
    if (view !== undefined) return view
    if ((await context.store.get(commandId)) === undefined) throw notFound(commandId)
    throw new ApiError('ATTEMPT_NOT_FOUND', `Command ${commandId} has no attempt ${attempt}.`)
  }

  app.get(
    '/commands/:commandId/artifacts',
    { schema: { params: CommandIdParams, querystring: AttemptQuery, response: { 200: CommandArtifacts } } },
    async (request) => {
      const { commandId } = request.params
      const view = await viewed(commandId, request.query.attempt ?? null)
      return { commandId, attempt: view.attempt?.number ?? 0, artifacts: shown(view) }
    },
  )

  app.get(
    '/commands/:commandId/artifacts/*',
    { schema: { params: ArtifactParams, querystring: AttemptQuery } },
    async (request, reply) => {
      const { commandId, '*': name } = request.params
      const view = await viewed(commandId, request.query.attempt ?? null)
      const artifact = shown(view).find((each) => each.name === name)
      if (artifact === undefined)
        throw new ApiError('ARTIFACT_NOT_FOUND', 'The attempt has left no file with this name.')
      if (artifact.state === 'pending') throw new ApiError('ARTIFACT_PENDING')
      const lost = () => new ApiError('ARTIFACT_LOST')
      if (artifact.state === 'lost') throw lost()
      return sendContent(request, reply, blobs, artifact, lost)
    },
  )
}

/** What the agent has told, and before it has, what the result of its command names. */
const shown = ({ command, attempt, artifacts }: ArtifactView): CommandArtifacts['artifacts'] => {
  if (artifacts.length > 0)
    return artifacts.map(({ name, bytes, sha256, ...kept }) => ({ name, bytes, sha256, state: stateOf(kept) }))
  const isDecisive = attempt !== null && attempt.number === lastGrantedAttempt(command)?.number
  return isDecisive ? namedInResult(command.result).map((each) => ({ ...each, state: 'pending' as const })) : []
}

async function* nothing(): AsyncGenerator<Buffer> {}

const blobNotFound = (sha256: string): ApiError => new ApiError('BLOB_NOT_FOUND', `The server does not have ${sha256}.`)

type Part = { bytes: number; firstByte: number; content: Buffer }

/** `bytes a-b/size` with so many bytes; `bytes *` + `/0` for a file without any. */
const rangeOf = (header: string | undefined, body: unknown): Part => {
  const invalid = (message: string): ApiError =>
    new ApiError('INVALID_REQUEST', `headers/content-range ${message}`, {
      details: [{ path: 'headers/content-range', message }],
    })
  if (header === 'bytes */0') return { bytes: 0, firstByte: 0, content: Buffer.alloc(0) }
  const match = /^bytes (\d{1,15})-(\d{1,15})\/(\d{1,15})$/.exec(header ?? '')
  if (match === null) throw invalid('must be "bytes a-b/size"')
  const [firstByte, lastByte, bytes] = match.slice(1).map(Number) as [number, number, number]
  if (!Buffer.isBuffer(body) || body.length === 0 || body.length !== lastByte - firstByte + 1 || lastByte >= bytes)
    throw invalid('must name as many bytes as the body of application/octet-stream has, within the size')
  return { bytes, firstByte, content: body }
}
