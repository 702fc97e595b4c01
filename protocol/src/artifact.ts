/** A file that an attempt leaves, by the hash of its content: SHA-256 in lowercase hexadecimal. */
import { type Static, Type } from './typebox.ts'

export const Sha256 = Type.String({ pattern: '^[0-9a-f]{64}$' })

/** Files that an attempt may leave, and characters of a name of one. */
export const ARTIFACTS_MAX = 1000
export const ARTIFACT_NAME_CHARACTERS_MAX = 1000
/** Patterns of a command, and the one where it has none. */
export const ARTIFACT_PATTERNS_MAX = 50
export const ARTIFACT_PATTERNS_DEFAULT: readonly string[] = ['/output/**']

/** A file that an attempt has left: its path in the container without the first `/`, or `changes.patch`. */
export const Artifact = Type.Object(
  {
    name: Type.String({ minLength: 1, maxLength: ARTIFACT_NAME_CHARACTERS_MAX }),
    bytes: Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER }),
    sha256: Sha256,
  },
  { additionalProperties: true },
)
export type Artifact = Static<typeof Artifact>
