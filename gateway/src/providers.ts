/** Where each provider is, and the one credential that goes there. */
import type { ProviderName } from './wire/wire.ts'

export type Provider = {
  /** `https://host`, or with the beginning of a path, which may end in the `/v1` that a request begins with. */
  baseUrl: string
  /** Asked for every call, so that a key can be replaced while the gateway runs. Empty where none is wanted. Never logged. */
  key: () => string
  /** `oauth`: a token of Anthropic that is no API key. */
  auth: 'key' | 'oauth'
  /** Of Anthropic, the betas that may be asked for; absent: all. */
  betas?: readonly string[]
}

export const PROVIDERS = ['anthropic', 'openai', 'gemini'] as const satisfies readonly ProviderName[]

export type Providers = Readonly<Partial<Record<ProviderName, Provider>>>

const OAUTH_BETA = 'oauth-2025-04-20'

/** What a client sends that a provider may see; credentials, cookies and whatever else is there stay here. */
const PASSED = ['content-type', 'accept', 'user-agent', 'anthropic-version', 'anthropic-beta', 'x-goog-api-client']

/** Also of the query: Gemini's clients may put their key there. */
const QUERY_PASSED = ['alt', 'beta']

export function targetOf({ baseUrl }: Provider, pathname: string, query: URLSearchParams): URL {
  const base = baseUrl.replace(/\/+$/, '')
  const target = new URL((pathname.startsWith('/v1/') ? base.replace(/\/v1$/, '') : base) + pathname)
  for (const [key, value] of query) if (QUERY_PASSED.includes(key)) target.searchParams.append(key, value)
  return target
}

export function headersFor(
  name: ProviderName,
  { key, auth, betas }: Provider,
  given: Readonly<Record<string, string | string[] | undefined>>,
): Record<string, string> {
  const headers: Record<string, string> = { 'accept-encoding': 'identity', 'content-type': 'application/json' }
  for (const header of PASSED) {
    const value = given[header]
    if (typeof value === 'string') headers[header] = value
  }
  if (betas !== undefined) {
    const allowed = listOf(headers['anthropic-beta']).filter((beta) => betas.includes(beta))
    if (allowed.length > 0) headers['anthropic-beta'] = allowed.join(',')
    else delete headers['anthropic-beta']
  }
  const credential = key()
  if (credential === '') return headers
  if (name === 'gemini') headers['x-goog-api-key'] = credential
  else if (name === 'anthropic' && auth === 'key') headers['x-api-key'] = credential
  else headers.authorization = `Bearer ${credential}`
  if (name === 'anthropic' && auth === 'oauth')
    headers['anthropic-beta'] = [...new Set([...listOf(headers['anthropic-beta']), OAUTH_BETA])].join(',')
  return headers
}

const listOf = (header = ''): string[] => header.split(',').flatMap((item) => item.trim() || [])
