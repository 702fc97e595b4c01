/** What an embedded gateway gets of the environment of its agent. Pure. */

type Env = Readonly<Record<string, string | undefined>>

const OF_PROVIDERS = /^(ANTHROPIC|OPENAI|GEMINI)_(API_KEY|AUTH_TOKEN|BASE_URL)(_FILE)?$/
/** Its own settings, but for the two that say whose child it is. */
const OF_GATEWAY = /^GATEWAY_(?!SOCKET$|PARENT$|DATA_DIR$)/
const OF_PROCESSES = ['PATH', 'HOME', 'TZ', 'NODE_EXTRA_CA_CERTS', 'SSL_CERT_FILE', 'SSL_CERT_DIR']

/** Whether there is a key, or an address in the place of one. */
export const hasProvider = (env: Env): boolean =>
  Object.entries(env).some(([name, value]) => OF_PROVIDERS.test(name) && value !== undefined && value !== '')

export const gatewayEnv = (env: Env): Record<string, string> =>
  Object.fromEntries(
    Object.entries(env).flatMap(([name, value]) =>
      value !== undefined && (OF_PROVIDERS.test(name) || OF_GATEWAY.test(name) || OF_PROCESSES.includes(name))
        ? [[name, value]]
        : [],
    ),
  )
