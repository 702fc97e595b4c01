/** Where each provider is, and the one credential that goes there. */
import type { ProviderName } from './wire/wire.ts'

export type Provider = {
  /** `https://host`, or with the beginning of a path. */
  baseUrl: string
  /** Asked for every call, so that a key can be replaced while the gateway runs. Never logged. */
  key: () => string
  /** `oauth`: a token of Anthropic that is no API key. */
  auth: 'key' | 'oauth'
}

export type Providers = Readonly<Partial<Record<ProviderName, Provider>>>

const OAUTH_BETA = 'oauth-2025-04-20'

/** What a client sends that a provider may see; credentials, cookies and whatever else is there stay here. */
const PASSED = ['content-type', 'accept', 'user-agent', 'anthropic-version', 'anthropic-beta', 'x-goog-api-client']

/** Also of the query: Gemini's clients may put their key there. */
export const QUERY_PASSED = ['alt', 'beta']

export function headersFor(
  name: ProviderName,
  { key, auth }: Provider,
  given: Readonly<Record<string, string | string[] | undefined>>,
): Record<string, string> {
  const headers: Record<string, string> = { 'accept-encoding': 'identity', 'content-type': 'application/json' }
  for (const header of PASSED) {
    const value = given[header]
    if (typeof value === 'string') headers[header] = value
  }
  if (name === 'gemini') headers['x-goog-api-key'] = key()
  else if (name === 'anthropic' && auth === 'key') headers['x-api-key'] = key()
  else headers.authorization = `Bearer ${key()}`
  if (name === 'anthropic' && auth === 'oauth')
    headers['anthropic-beta'] = [...new Set([...(headers['anthropic-beta'] ?? '').split(','), OAUTH_BETA])]
      .filter(Boolean)
      .join(',')
  return headers
}
