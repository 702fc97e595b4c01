/** What an attempt writes, as its agent uploads it and clients read it. Offsets count bytes of one stream from 0. */
import { Id } from './command.ts'
import { oneOf } from './schema.ts'
import { type Static, Type } from './typebox.ts'

export const LOG_STREAMS = ['stdout', 'stderr'] as const
export type LogStreamName = (typeof LOG_STREAMS)[number]

/** Of one upload. */
export const LOG_CHUNK_BYTES_MAX = 1_048_576

const Bytes = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })

/** Who uploads, in the query: the registration that the attempt's agent has now. */
export const LogUploader = Type.Object(
  {
    agentId: Id,
    incarnation: Type.Integer({ minimum: 0, maximum: 2 ** 48 }),
    epoch: Type.String({ pattern: '^[A-Za-z0-9-]{8,64}$' }),
  },
  { additionalProperties: false },
)
export type LogUploader = Static<typeof LogUploader>

/** The answer to an upload: how many bytes the server has, from the first on. With 416: go on from there. */
export const LogCommitted = Type.Object({ committed: Bytes })
export type LogCommitted = Static<typeof LogCommitted>

/** Body of the upload that ends a stream, with a `Content-Range` without a range. `complete`: nothing was left out. */
export const LogEnd = Type.Object(
  { sha256: Type.String({ pattern: '^[0-9a-f]{64}$' }), complete: Type.Boolean() },
  { additionalProperties: true },
)
export type LogEnd = Static<typeof LogEnd>

/** `sha256` is of what is stored; `complete` where that is all that the attempt wrote. */
const LogEndRecord = Type.Object({ bytes: Bytes, sha256: Type.String(), complete: Type.Boolean() })

export const LOG_STATES = ['open', 'complete', 'cut'] as const
export type LogState = (typeof LOG_STATES)[number]

/** `GET /commands/:commandId/logs`. */
export const CommandLogs = Type.Object({
  commandId: Id,
  attempt: Type.Integer({ description: '0 where nothing has begun' }),
  state: oneOf(LOG_STATES),
  streams: Type.Array(
    Type.Object({
      stream: oneOf(LOG_STREAMS),
      bytes: Type.Integer({ description: 'Stored so far' }),
      offset: Type.Integer({ description: 'Of the first byte of the text' }),
      nextOffset: Type.Integer({ description: 'Of the first byte after it' }),
      text: Type.Optional(Type.String()),
      base64: Type.Optional(Type.String()),
      end: Type.Union([LogEndRecord, Type.Null()]),
    }),
  ),
})
export type CommandLogs = Static<typeof CommandLogs>
