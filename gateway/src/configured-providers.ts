/** What the settings say of providers. */
import { SettingsError } from '@agent-executor/runtime'
import { type GatewaySettings, SETTINGS } from './config.ts'
import { type Key, KeyError, keyFileOf, keyOf } from './keys.ts'
import type { Provider, Providers } from './providers.ts'

type SettingKey = keyof GatewaySettings & keyof typeof SETTINGS

export type ConfiguredProviders = {
  providers: Providers
  /** Reads all key files again. */
  reload: () => void
}

/** Throws `SettingsError`, which names settings and files and never a key. */
export function configuredProviders(
  settings: GatewaySettings,
  warn: (facts: object, message: string) => void,
): ConfiguredProviders {
  const problems: string[] = []
  const keys: Key[] = []
  const nameOf = (key: SettingKey) => SETTINGS[key].name

  const credential = (given: SettingKey, file: SettingKey): Key | null => {
    const [value, path] = [settings[given], settings[file]] as [string, string]
    if (value === '' && path === '') return null
    try {
      if (value !== '' && path !== '') throw new KeyError(`${nameOf(given)} and ${nameOf(file)} exclude each other`)
      const key = value === '' ? keyFileOf(nameOf(file), path, warn) : keyOf(nameOf(given), value)
      keys.push(key)
      return key
    } catch (error) {
      if (!(error instanceof KeyError)) throw error
      problems.push(error.message)
      return null
    }
  }
  const provider = (key: Key | null, baseUrl: SettingKey, auth: Provider['auth'] = 'key'): Provider | undefined => {
    // What speaks a provider's format in the own network may want no key.
    const isOther = settings[baseUrl] !== SETTINGS[baseUrl].default
    if (key === null && !isOther) return undefined
    return { baseUrl: settings[baseUrl] as string, key: () => key?.read() ?? '', auth }
  }

  const anthropicKey = credential('anthropicApiKey', 'anthropicApiKeyFile')
  const anthropicToken = credential('anthropicAuthToken', 'anthropicAuthTokenFile')
  if (anthropicKey !== null && anthropicToken !== null)
    problems.push(`${nameOf('anthropicApiKey')} and ${nameOf('anthropicAuthToken')} exclude each other`)
  const found = provider(anthropicToken ?? anthropicKey, 'anthropicBaseUrl', anthropicToken === null ? 'key' : 'oauth')
  const betas = settings.anthropicBetas
  const anthropic = found && { ...found, ...(betas.length > 0 && { betas }) }
  const openai = provider(credential('openaiApiKey', 'openaiApiKeyFile'), 'openaiBaseUrl')
  const gemini = provider(credential('geminiApiKey', 'geminiApiKeyFile'), 'geminiBaseUrl')
  if (problems.length > 0) throw new SettingsError(problems)
  return {
    providers: { ...(anthropic && { anthropic }), ...(openai && { openai }), ...(gemini && { gemini }) },
    reload: () => {
      for (const key of keys) key.reload()
    },
  }
}
