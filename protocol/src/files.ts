/** Files on their way: what clients bring for runs, and what agents bring of their attempts. */
import { ARTIFACTS_MAX, Artifact, Sha256 } from './artifact.ts'
import { Id } from './command.ts'
import { oneOf } from './schema.ts'
import { type Static, Type } from './typebox.ts'

/** Of the list of an attempt, which as JSON takes many times as much memory: names have to fit. */
export const ARTIFACT_LIST_BYTES_MAX = 1_048_576
/** Of one part of a file that an agent uploads. */
export const BLOB_PART_BYTES_MAX = 4_194_304

const Bytes = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })

/** Answer to `POST /uploads`. Until `expiresAt` a command may name it; with one it stays as long as the command does. */
export const UploadRecord = Type.Object({
  sha256: Sha256,
  bytes: Bytes,
  expiresAt: Type.Union([Type.String({ format: 'date-time' }), Type.Null()], { description: 'null: it is in use' }),
})
export type UploadRecord = Static<typeof UploadRecord>

/** Body of `PUT /attempts/:attemptId/artifacts`: all of an attempt, the same each time but for `lost`, which stays. */
export const ArtifactList = Type.Object(
  {
    artifacts: Type.Array(
      Type.Object(
        { ...Artifact.properties, lost: Type.Boolean({ description: 'The agent does not have it any more' }) },
        { additionalProperties: true },
      ),
      { maxItems: ARTIFACTS_MAX },
    ),
  },
  { additionalProperties: true },
)
export type ArtifactList = Static<typeof ArtifactList>

/** What of them the server wants; nothing is left to do where it is empty. */
export const ArtifactsWanted = Type.Object({ wanted: Type.Array(Sha256) })
export type ArtifactsWanted = Static<typeof ArtifactsWanted>

/** The answer to a part: how many bytes the server has, from the first on. With 416: go on from there. */
export const BlobCommitted = Type.Object({ committed: Bytes })
export type BlobCommitted = Static<typeof BlobCommitted>

/** `pending`: its agent has it; `lost`: nobody has it any more, or it is more than the server keeps. */
export const ARTIFACT_STATES = ['pending', 'stored', 'lost'] as const
export type ArtifactState = (typeof ARTIFACT_STATES)[number]

/** `GET /commands/:commandId/artifacts`. */
export const CommandArtifacts = Type.Object({
  commandId: Id,
  attempt: Type.Integer({ description: '0 where nothing has begun' }),
  artifacts: Type.Array(Type.Object({ ...Artifact.properties, state: oneOf(ARTIFACT_STATES) })),
})
export type CommandArtifacts = Static<typeof CommandArtifacts>
