/**
 * The gateway as the agent sees it: its control socket, one method a call, every answer checked. A call ends in an answer,
 * in `GatewayRefused`, its own word that it will not, or in `GatewayUnavailable`: nothing is known, and it is asked again.
 */
import { closeSync, constants, mkdirSync, openSync } from 'node:fs'
import { basename, dirname } from 'node:path'
import {
  ApiErrorBody,
  type EgressHost,
  LIMIT_UNITS,
  type LimitUnit,
  LlmCall,
  type ProviderName,
  TokenUsage,
  type UsageLimits,
} from '@agent-executor/protocol'
import { Compile, type Static, type TSchema, Type } from '@agent-executor/protocol/typebox'
import { Client, request } from 'undici'

export class GatewayUnavailable extends Error {
  override name = 'GatewayUnavailable'
}

export class GatewayRefused extends Error {
  override name = 'GatewayRefused'
  readonly code: string
  constructor(code: string, message: string) {
    super(message)
    this.code = code
  }
}

/** What the gateway has to know of an attempt. The models of a profile are its own, so that `models` is for operators. */
export type SessionBody = {
  agentId: string
  commandId: string
  profile: string | null
  limits: UsageLimits
  profileLimits: UsageLimits
  models?: readonly string[]
  egress: readonly EgressHost[]
}

const Health = Type.Object(
  {
    gatewayId: Type.String({ minLength: 1, maxLength: 64 }),
    version: Type.String(),
    providers: Type.Record(Type.String(), Type.Boolean()),
  },
  { additionalProperties: true },
)
export type GatewayHealth = { gatewayId: string; version: string; providers: Partial<Record<ProviderName, boolean>> }

const Opened = Type.Object({ directory: Type.String({ pattern: '^/' }) }, { additionalProperties: true })

const Refusal = Type.Object(
  {
    /** null: the price of a model is not known. */
    unit: Type.Union([Type.Unsafe<LimitUnit>({ type: 'string', enum: [...LIMIT_UNITS] }), Type.Null()]),
    scope: Type.Union([Type.String(), Type.Null()]),
    count: Type.Integer({ minimum: 1 }),
  },
  { additionalProperties: true },
)
/** Calls of one attempt that a limit has refused. */
export type GatewayRefusal = Static<typeof Refusal>

const SessionUsage = Type.Object(
  {
    calls: Type.Array(LlmCall),
    started: Type.Integer({ minimum: 0 }),
    refusals: Type.Array(Refusal),
    total: Type.Intersect([
      TokenUsage,
      Type.Object({ calls: Type.Integer({ minimum: 0 }), isEstimated: Type.Boolean() }, { additionalProperties: true }),
    ]),
    costMicroUsd: Type.Union([Type.Integer({ minimum: 0 }), Type.Null()]),
    lastError: Type.Union([
      Type.Object(
        { status: Type.Union([Type.Integer(), Type.Null()]), message: Type.String() },
        { additionalProperties: true },
      ),
      Type.Null(),
    ]),
  },
  { additionalProperties: true },
)
/** All that an attempt has used. `started`: calls that have not ended. */
export type SessionUsage = Static<typeof SessionUsage>

const Unreported = Type.Object(
  {
    gatewayId: Type.String({ minLength: 1, maxLength: 64 }),
    attempts: Type.Array(
      Type.Object({ attemptId: Type.String(), calls: Type.Array(LlmCall) }, { additionalProperties: true }),
    ),
  },
  { additionalProperties: true },
)
export type Unreported = Static<typeof Unreported>

const ANSWERS = {
  health: Compile(Health),
  opened: Compile(Opened),
  usage: Compile(SessionUsage),
  unreported: Compile(Unreported),
}
const REFUSALS = Compile(ApiErrorBody)

export type GatewayClient = ReturnType<typeof createGatewayClient>

const CALL_MS = 10_000
/** The system's, which cuts a longer one without a word. */
const SOCKET_PATH_BYTES_MAX = 107

export function createGatewayClient({ socketPath }: { socketPath: string }) {
  const connection = connectable(socketPath)
  const dispatcher = new Client('http://gateway', { socketPath: connection.path, connect: { timeout: CALL_MS } })

  const exchange = async (method: 'GET' | 'PUT' | 'POST' | 'DELETE', path: string, body: object | null) => {
    try {
      const response = await request(`http://gateway${path}`, {
        ...{ dispatcher, method, headersTimeout: CALL_MS, bodyTimeout: CALL_MS },
        ...(body === null ? {} : { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
      })
      return { statusCode: response.statusCode, answer: parsed(await response.body.text()) }
    } catch (error) {
      const { code, message } = error as Error & { code?: string }
      throw new GatewayUnavailable(`${method} ${path}: ${code ?? message}`, { cause: error })
    }
  }

  const call = async <Answer>(
    method: 'GET' | 'PUT' | 'POST' | 'DELETE',
    path: string,
    answers: { Check: (answer: unknown) => boolean } | null,
    body: object | null = null,
  ): Promise<Answer> => {
    const { statusCode, answer } = await exchange(method, path, body)
    if (statusCode < 300 && (answers === null || answers.Check(answer))) return answer as Answer
    // What it cannot do now it may be able to do later.
    if (statusCode >= 400 && statusCode < 500 && REFUSALS.Check(answer)) {
      const { code, message } = answer as Static<TSchema> as { code: string; message: string }
      throw new GatewayRefused(code, message)
    }
    throw new GatewayUnavailable(`${method} ${path}: status ${statusCode} with an answer that is not the gateway's`)
  }

  const sessionPath = (attemptId: string): string => `/sessions/${encodeURIComponent(attemptId)}`

  return {
    health: (): Promise<GatewayHealth> => call('GET', '/health', ANSWERS.health),

    /** The folder of its socket. Also where it is open already, or was before the gateway died. */
    open: async (attemptId: string, body: SessionBody): Promise<string> =>
      (await call<Static<typeof Opened>>('PUT', sessionPath(attemptId), ANSWERS.opened, body)).directory,

    /** Of a session that is closed as well. */
    usage: (attemptId: string): Promise<SessionUsage> => call('GET', `${sessionPath(attemptId)}/usage`, ANSWERS.usage),

    /** What was under way in it is booked with that. Nothing where there is none. */
    close: (attemptId: string): Promise<void> => call('DELETE', sessionPath(attemptId), null),

    /** Calls that have ended and that nobody has said to have reported, the oldest first. */
    unreported: (agentId: string, limit: number): Promise<Unreported> =>
      call(
        'GET',
        `/calls?${new URLSearchParams({ agentId, unreported: '1', limit: String(limit) })}`,
        ANSWERS.unreported,
      ),

    reported: (callIds: readonly number[]): Promise<void> => call('POST', '/calls/reported', null, { callIds }),

    /** In the place of all that it has got before. */
    setPrices: (prices: readonly unknown[]): Promise<void> => call('PUT', '/prices', null, { prices }),

    disconnect: async (): Promise<void> => {
      await dispatcher.destroy()
      connection.close()
    },
  }
}

/** A path that the system takes, where it is too long by way of its open folder. */
function connectable(socketPath: string): { path: string; close: () => void } {
  if (Buffer.byteLength(socketPath) <= SOCKET_PATH_BYTES_MAX) return { path: socketPath, close: () => {} }
  // The gateway may not have begun yet.
  mkdirSync(dirname(socketPath), { recursive: true, mode: 0o700 })
  const folder = openSync(dirname(socketPath), constants.O_RDONLY | constants.O_DIRECTORY)
  return { path: `/proc/self/fd/${folder}/${basename(socketPath)}`, close: () => closeSync(folder) }
}

const parsed = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
