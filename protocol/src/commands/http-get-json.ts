import { type Static, Type } from '../typebox.ts'

/** The documented cap on a body of HTTP_GET_JSON: counted in bytes after decoding, cut at a UTF-8 boundary. */
export const HTTP_BODY_BYTES_MAX = 102_400
export const HTTP_TIMEOUT_MS_DEFAULT = 30_000
export const HTTP_REDIRECTS_MAX = 5
/** JSON nested deeper is kept as text: `JSON.stringify` of very deep values overflows the stack. */
export const HTTP_JSON_DEPTH_MAX = 64

/** Header names: an RFC 9110 token. Values: visible ASCII, spaces and tabs; no line breaks. */
export const HttpGetJsonPayload = Type.Object(
  {
    url: Type.String({ minLength: 1, maxLength: 2048, pattern: '^[Hh][Tt][Tt][Pp][Ss]?://' }),
    headers: Type.Optional(
      Type.Record(
        Type.String({ pattern: "^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$" }),
        Type.String({ maxLength: 4096, pattern: '^[\\t\\x20-\\x7e]*$' }),
        { maxProperties: 50, additionalProperties: false },
      ),
    ),
    timeoutMs: Type.Optional(Type.Integer({ minimum: 1, maximum: 300_000 })),
  },
  { additionalProperties: false },
)
export type HttpGetJsonPayload = Static<typeof HttpGetJsonPayload>

/**
 * Result of `HTTP_GET_JSON`. `body` is the parsed JSON, or the text where it is not JSON, was cut, or the status is an
 * error whose body is not JSON; `null` where there is none. `bytesReturned` are the decoded bytes kept (at most
 * 102,400), `totalBytes` the length the server announced where it did so and the body was not encoded. `error` is
 * `null` for a 2xx answer with JSON, and otherwise a sentence that begins with a code: `HTTP_ERROR` (status not 2xx),
 * `INVALID_JSON`, `TRUNCATED`.
 */
export type HttpGetJsonResult = {
  status: number
  body: unknown
  truncated: boolean
  bytesReturned: number
  totalBytes?: number
  error: string | null
}
