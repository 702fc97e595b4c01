/**
 * The two tables of codes. A code, once published, is never reused for another meaning.
 * `docs/errors.md` is held against this file by a test, both ways.
 */
import { type Static, Type } from './typebox.ts'

/** What the HTTP API answers where a request cannot be served. Callers branch on `code`; `message` is for people. */
export const API_ERRORS = {
  MALFORMED_REQUEST: [400, 'The bytes received are not a well-formed HTTP request.'],
  MALFORMED_JSON: [
    400,
    'The body is not acceptable JSON: bad syntax, bad UTF-8, nested too deep, or a lone surrogate.',
  ],
  MALFORMED_TOML: [400, 'The profile is not acceptable TOML; `details` has the line and the column.'],
  INVALID_REQUEST: [
    400,
    'A field of the body, path, query or header is missing, unknown, of the wrong type or out of range; `details` names each.',
  ],
  INVALID_IDEMPOTENCY_KEY: [400, 'Idempotency-Key must be 1 to 255 visible ASCII characters.'],
  COMMAND_NOT_RUNNING: [400, 'A result was reported for a command that is not RUNNING.'],
  NOT_YOUR_COMMAND: [400, 'A result was reported for a command that another agent holds, or one held through sync.'],
  FIELD_LOCKED: [403, 'The profile locks a field that the request sets; `details` names each.'],
  NOT_FOUND: [404, 'There is no such route.'],
  COMMAND_NOT_FOUND: [404, 'There is no command with this id.'],
  ATTEMPT_NOT_FOUND: [404, 'The command has no such attempt.'],
  PROFILE_NOT_FOUND: [404, 'There is no profile with this name, or no such version of it.'],
  TEMPLATE_NOT_FOUND: [404, 'There is no template with this name, or no such version of it.'],
  ENGINE_NOT_FOUND: [404, 'There is no engine with this name, or no such version of it.'],
  PRICE_NOT_FOUND: [404, 'There is no price of this model, or none from this time on.'],
  BLOB_NOT_FOUND: [404, 'The server does not have this content: it never came, or nobody used it for too long.'],
  ARTIFACT_NOT_FOUND: [404, 'The attempt has left no file with this name, or none with this SHA-256 and size.'],
  METHOD_NOT_ALLOWED: [405, 'The route exists, the method does not; `Allow` lists those that do.'],
  REQUEST_TIMEOUT: [408, 'The request did not arrive completely in time.'],
  COMMAND_FINAL: [409, 'The command is COMPLETED or FAILED already: final is final.'],
  NOT_REGISTERED: [409, 'This agent has to register before it syncs.'],
  INCARNATION_SUPERSEDED: [409, 'A newer process of this agent has registered; this one must stop.'],
  IDENTITY_CONFLICT: [409, 'Another agent, with another journal, holds this agent id and its lease is not over.'],
  STALE_SYNC: [409, 'A later sync of this agent was answered already; nothing was changed, sync again with a new seq.'],
  EPOCH_CHANGED: [409, 'The server was restored from a backup; the agent has to register again and show its journal.'],
  NOT_YOUR_ATTEMPT: [409, 'A log, file or usage was brought for an attempt that was never granted to this agent.'],
  LOG_ENDED: [409, 'The log of this stream has ended, with fewer bytes than were uploaded now.'],
  UPLOAD_MISSING: [
    409,
    'A file of the command names an upload that the server does not have; `details` names each. Nothing was stored.',
  ],
  NOT_RESUMABLE: [
    409,
    'The command that a run wants to go on with is not there, not over, of another engine, or left no conversation.',
  ],
  ARTIFACT_PENDING: [409, 'The file is still with its agent; ask again later.'],
  NAME_TAKEN: [409, 'There is a profile or template with this name; PUT changes it.'],
  IN_USE: [409, 'Profiles depend on this profile or template and could not be used any more; `details` names each.'],
  PROFILE_UNUSABLE: [
    409,
    'The profile does not fit what it refers to, or the limits of this server; `details` names each fault.',
  ],
  DOCUMENTS_FULL: [409, 'The server keeps as many profiles and templates as it can; delete one first.'],
  PRICES_FULL: [409, 'The server keeps as many prices as it can; delete one first.'],
  ARTIFACT_LOST: [
    410,
    'The attempt has left this file, and nobody has it any more, or the server keeps no more of it.',
  ],
  VERSION_MISMATCH: [412, 'If-Match does not name the newest version: read it again, and decide anew.'],
  BODY_TOO_LARGE: [413, 'The body is larger than this route accepts.'],
  LOG_FULL: [413, 'The server keeps no more of the log of this attempt (LOG_BYTES_MAX); end it where it is.'],
  URI_TOO_LONG: [414, 'The URL or one of its parameters is too long.'],
  UNSUPPORTED_MEDIA_TYPE: [
    415,
    'The body must be application/json in UTF-8 without content encoding; of a profile also application/toml, of logs and files application/octet-stream.',
  ],
  LOG_GAP: [416, 'What was uploaded of a log begins, or ends, beyond what the server has: go on from `committed`.'],
  BLOB_GAP: [416, 'A part of a file begins beyond what the server has: go on from `committed`.'],
  RANGE_NOT_SATISFIABLE: [416, 'The range begins beyond the end of the file; `Content-Range` has its size.'],
  EXPECTATION_FAILED: [417, 'The Expect header asks for something other than 100-continue.'],
  MISDIRECTED_HOST: [421, 'The Host header does not name this server (see ALLOWED_HOSTS).'],
  IDEMPOTENCY_KEY_REUSED: [
    422,
    'This Idempotency-Key was used with another body; `details` names the existing command.',
  ],
  CONTENT_MISMATCH: [422, 'What came does not have the SHA-256 that it should; nothing of it is kept.'],
  TEMPLATE_FAILED: [422, 'The template cannot be rendered: its syntax, or what it does with a value.'],
  TEMPLATE_LIMIT: [422, 'The template or pattern takes more time or memory, or makes more text, than it may.'],
  PROTOCOL_UNSUPPORTED: [426, 'Agent and server have no protocol version in common.'],
  VERSION_REQUIRED: [428, 'What exists is changed and deleted with If-Match: its ETag, or * for any version.'],
  QUEUE_FULL: [429, 'As many commands are PENDING as the server takes (QUEUE_MAX); nothing was stored, try again.'],
  HEADERS_TOO_LARGE: [431, 'The request headers are larger than 16 KiB.'],
  INTERNAL: [500, 'A fault of the server; its log has the details under the requestId.'],
  STORE_BUSY: [503, 'The database did not answer in time; nothing was changed, try again.'],
  NO_SPACE: [503, 'The disk of the server is full; nothing was changed, try again.'],
  OVERLOADED: [
    503,
    'Too many submissions, uploads, templates or followers of logs are under way; nothing was stored, try again.',
  ],
  SHUTTING_DOWN: [503, 'The server is stopping; try again.'],
} as const satisfies Record<string, readonly [statusCode: number, meaning: string]>

export type ApiErrorCode = keyof typeof API_ERRORS

/** The one shape of every error answer. `details[].path` is a JSON pointer into the named part of the request. */
export const ApiErrorBody = Type.Object({
  statusCode: Type.Integer(),
  error: Type.String({ description: 'The HTTP reason phrase' }),
  code: Type.String(),
  message: Type.String(),
  details: Type.Optional(Type.Array(Type.Object({ path: Type.String(), message: Type.String() }))),
  requestId: Type.String(),
  committed: Type.Optional(Type.Integer({ description: 'With LOG_GAP and BLOB_GAP: how many bytes the server has' })),
})
export type ApiErrorBody = Static<typeof ApiErrorBody>

/**
 * Why a command FAILED or was CANCELLED (`error.code`), and whether another attempt may help (`retryable`, the default
 * for `retry.retryOn`). An agent of the simple API may use codes of its own in the same form.
 */
export const FAILURE_CODES = {
  INTERRUPTED: [
    true,
    'The agent stopped after it had logged the start: the command may have run, its outcome is unknown.',
  ],
  LOST: [false, 'The agent that was granted the command never came back: the command may have run.'],
  TIMED_OUT: [true, 'An attempt took longer than `timeoutMs`, or all of them longer than `totalTimeoutMs`.'],
  EXPIRED: [false, 'The command was not started before `expiresAt`.'],
  CANCELLED: [false, 'Somebody asked for the end of the command.'],
  POISONED: [false, 'Several agents crashed on this command; it is not tried again.'],
  NETWORK_ERROR: [true, 'The name did not resolve, or the connection was refused, reset, or closed too early.'],
  HTTP_ERROR: [false, 'The answer was not HTTP that can be read: malformed, too many redirects, a bad encoding.'],
  BLOCKED_ADDRESS: [false, 'The URL, or a redirect, leads to an address that the agent may not reach.'],
  IDLE_TIMEOUT: [true, 'The attempt wrote no output for `idleTimeoutMs`.'],
  HOOK_FAILED: [
    false,
    'A hook ended with an exit code other than 0, or took longer than it may; `details.hook` names it.',
  ],
  EXIT_NONZERO: [false, 'The engine ended with an exit code other than 0; `result` has its output.'],
  EXIT_SIGNAL: [false, 'The engine was ended by a signal that the agent did not send; `result` has its output.'],
  OOM_KILLED: [false, 'The engine was killed because the container needed more memory than it has.'],
  IMAGE_MISSING: [false, "The agent's Docker does not have the image, and agents do not pull. Nothing ran."],
  IMAGE_REFUSED: [false, 'The agent does not allow this image. Nothing ran.'],
  RESOURCES_REFUSED: [false, 'The command asks for more than this agent gives. Nothing ran.'],
  FILES_UNAVAILABLE: [true, 'The agent could not fetch what the command uploaded. Nothing ran.'],
  CONTAINER_START_FAILED: [false, 'The container could not be made or started. Nothing ran.'],
  DOCKER_UNAVAILABLE: [true, 'Docker did not answer for too long before the start. Nothing ran.'],
  HOST_STOPPED: [
    true,
    'The container ended as it does when Docker or its machine stops, and nobody watched: it may have run in part.',
  ],
  BUDGET_EXCEEDED: [
    false,
    'A limit of money or tokens left no room for a call of a model; `details` has the scope and the unit.',
  ],
  TURN_LIMIT: [false, 'The run wanted more calls of a model than `limits.requests` allows.'],
  GATEWAY_ERROR: [true, 'The model could not be asked: the provider cannot be reached, or it refused the call.'],
  ENGINE_ERROR: [false, 'The engine says that it failed, in words of its own; `result` has them.'],
  NO_CHANGES: [false, 'The engine ended well and left nothing: no answer, and no change.'],
  EXECUTION_FAILED: [false, 'An agent of the simple API reported an error without a code.'],
  INTERNAL_ERROR: [false, 'A fault in the agent itself.'],
} as const satisfies Record<string, readonly [retryable: boolean, meaning: string]>

export type FailureCode = keyof typeof FAILURE_CODES

/** A code of `FAILURE_CODES`, or an agent's own in the same form. */
export const FAILURE_CODE_PATTERN = '^[A-Z][A-Z0-9_]{0,63}$'

/** The `error` of a FAILED or CANCELLED command. */
export const CommandError = Type.Object({
  code: Type.String({ pattern: FAILURE_CODE_PATTERN }),
  message: Type.String(),
  retryable: Type.Boolean(),
  details: Type.Optional(Type.Unknown()),
})
export type CommandError = Static<typeof CommandError>
