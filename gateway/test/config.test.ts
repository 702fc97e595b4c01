// What the settings say of providers and their credentials, and what is wrong with them.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { helpText, readSettings, SettingsError } from '@agent-executor/runtime'
import t from 'tap'
import { SETTINGS } from '../src/config.ts'
import { configuredProviders } from '../src/configured-providers.ts'

const dir = mkdtempSync(join(tmpdir(), 'gateway-'))
writeFileSync(join(dir, 'key'), ' sk-file \n')
writeFileSync(join(dir, 'empty'), '\n')
t.teardown(() => rmSync(dir, { recursive: true }))

const providersOf = (env: Record<string, string>) =>
  configuredProviders(readSettings(SETTINGS, { argv: [], env }).values, () => {}).providers

t.test('a provider is there where it has a credential, or stands elsewhere', async (t) => {
  t.same(providersOf({}), {})
  const { anthropic, openai, gemini } = providersOf({
    ...{ ANTHROPIC_AUTH_TOKEN: 'sk-token', GATEWAY_ANTHROPIC_BETAS: 'one,two' },
    ...{ OPENAI_BASE_URL: 'http://localhost:8000/v1', GEMINI_API_KEY_FILE: `${dir}/key` },
  })
  t.match(anthropic, { auth: 'oauth', baseUrl: 'https://api.anthropic.com', betas: ['one', 'two'] })
  t.equal(anthropic?.key(), 'sk-token')
  t.equal(openai?.key(), '')
  t.equal(gemini?.key(), 'sk-file', 'without the space around it')
})

t.test('what is wrong is told by its name, all of it, without what was in it', async (t) => {
  const rows: [Record<string, string>, RegExp][] = [
    [{ OPENAI_API_KEY: 'sk-1', OPENAI_API_KEY_FILE: '/f' }, /OPENAI_API_KEY and OPENAI_API_KEY_FILE exclude/],
    [{ ANTHROPIC_API_KEY: 'sk-1', ANTHROPIC_AUTH_TOKEN: 'sk-2' }, /ANTHROPIC_API_KEY and ANTHROPIC_AUTH_TOKEN exclude/],
    [{ GEMINI_API_KEY_FILE: `${dir}/none` }, /GEMINI_API_KEY_FILE: .*none cannot be read \(ENOENT\)/],
    [
      { GEMINI_API_KEY_FILE: `${dir}/empty`, OPENAI_API_KEY: 'sk 1' },
      /OPENAI_API_KEY must(.|\n)*GEMINI_API_KEY_FILE must/,
    ],
    [{ GEMINI_API_KEY: 'sk-1\nX: y' }, /GEMINI_API_KEY must be visible/],
    [{ GATEWAY_MODEL_ALIASES: 'fast' }, /GATEWAY_MODEL_ALIASES/],
    [{ OPENAI_BASE_URL: 'ftp://x' }, /OPENAI_BASE_URL/],
    [{ OPENAI_BASE_URL: 'http://user:sk-1@x' }, /OPENAI_BASE_URL/],
  ]
  for (const [env, message] of rows)
    try {
      providersOf(env)
      t.fail(JSON.stringify(env))
    } catch (error) {
      t.ok(error instanceof SettingsError)
      t.match((error as Error).message, message)
      if (!('OPENAI_BASE_URL' in env)) t.notMatch((error as Error).message, /sk[- ]/)
    }
})

t.test('--help names each', async (t) => {
  t.match(helpText('gateway', 'gateway', SETTINGS), /--anthropic-api-key-file <text>/)
})
