/** Every setting of the gateway: name, flag, default, range, unit, meaning. `docs/configuration.md` is generated from it. */
import type { Settings, SettingsTable } from '@agent-executor/runtime'

const DAY_MS = 86_400_000
const MICRO_USD_MAX = Number.MAX_SAFE_INTEGER
const URL_PATTERN = /^https?:\/\/[^\s/@?#]+(\/[^\s?#]*)?$/
const MODEL = '[\\w.:@/-]{1,200}'

const secret = (name: string, flag: `--${string}`, meaning: string) =>
  ({ kind: 'text', name, flag, default: '', secret: true, meaning }) as const
const secretFile = (of: string, flag: `--${string}`) =>
  ({
    kind: 'text',
    name: `${of}_FILE`,
    flag,
    default: '',
    meaning: `File that holds ${of}; read again when it changes, and on SIGHUP`,
  }) as const
const baseUrl = (name: string, flag: `--${string}`, url: string, meaning: string) =>
  ({ kind: 'text', name, flag, default: url, pattern: URL_PATTERN, meaning }) as const

export const SETTINGS = {
  dataDir: {
    kind: 'text',
    name: 'GATEWAY_DATA_DIR',
    flag: '--data-dir',
    default: 'gateway/data',
    meaning: 'Folder that holds the ledger gateway.db, and in sockets/ a folder for each attempt',
  },
  socket: {
    kind: 'text',
    name: 'GATEWAY_SOCKET',
    flag: '--socket',
    default: '',
    meaning:
      'Socket of the control API; whoever can open it may spend. Empty: control.sock in GATEWAY_DATA_DIR. Of an agent: that of a gateway that runs alone',
  },
  parent: {
    kind: 'flag',
    name: 'GATEWAY_PARENT',
    flag: '--parent',
    default: false,
    meaning: 'Ends with its standard input, which its parent holds, and not on SIGTERM',
  },
  anthropicApiKey: secret('ANTHROPIC_API_KEY', '--anthropic-api-key', 'Key of Anthropic'),
  anthropicApiKeyFile: secretFile('ANTHROPIC_API_KEY', '--anthropic-api-key-file'),
  anthropicAuthToken: secret(
    'ANTHROPIC_AUTH_TOKEN',
    '--anthropic-auth-token',
    'OAuth token of Anthropic, in place of a key',
  ),
  anthropicAuthTokenFile: secretFile('ANTHROPIC_AUTH_TOKEN', '--anthropic-auth-token-file'),
  anthropicBaseUrl: baseUrl(
    'ANTHROPIC_BASE_URL',
    '--anthropic-base-url',
    'https://api.anthropic.com',
    'Where Anthropic is, or what speaks its format; other than the default, no key is needed',
  ),
  openaiApiKey: secret('OPENAI_API_KEY', '--openai-api-key', 'Key of OpenAI'),
  openaiApiKeyFile: secretFile('OPENAI_API_KEY', '--openai-api-key-file'),
  openaiBaseUrl: baseUrl(
    'OPENAI_BASE_URL',
    '--openai-base-url',
    'https://api.openai.com/v1',
    'Where OpenAI is, or what speaks its formats; other than the default, no key is needed',
  ),
  geminiApiKey: secret('GEMINI_API_KEY', '--gemini-api-key', 'Key of Gemini'),
  geminiApiKeyFile: secretFile('GEMINI_API_KEY', '--gemini-api-key-file'),
  geminiBaseUrl: baseUrl(
    'GEMINI_BASE_URL',
    '--gemini-base-url',
    'https://generativelanguage.googleapis.com',
    'Where Gemini is, or what speaks its format; other than the default, no key is needed',
  ),
  models: {
    kind: 'list',
    name: 'GATEWAY_MODELS',
    flag: '--models',
    default: [],
    pattern: new RegExp(`^${MODEL}$`),
    meaning: 'Models that may be asked for, by their names or aliases; empty = all',
  },
  modelAliases: {
    kind: 'list',
    name: 'GATEWAY_MODEL_ALIASES',
    flag: '--model-aliases',
    default: [],
    pattern: new RegExp(`^${MODEL}=${MODEL}$`),
    meaning: 'Other names of models, as fast=claude-haiku-4-5; the model is what goes out, and what is paid for',
  },
  anthropicBetas: {
    kind: 'list',
    name: 'GATEWAY_ANTHROPIC_BETAS',
    flag: '--anthropic-betas',
    default: [],
    pattern: /^[\w.-]{1,100}$/,
    meaning: 'What of anthropic-beta is passed on; empty = all',
  },
  providerTools: {
    kind: 'text',
    name: 'GATEWAY_PROVIDER_TOOLS',
    flag: '--provider-tools',
    default: 'deny',
    choices: ['deny', 'pass'],
    meaning:
      'Tools that a provider runs itself, and files and images that it has to fetch: a way out of the sandbox, whose cost is not reserved. Left out of requests or refused, or passed',
  },
  dayMicroUsdMax: {
    kind: 'integer',
    name: 'GATEWAY_DAY_MICRO_USD_MAX',
    flag: '--day-micro-usd-max',
    default: 0,
    min: 0,
    max: MICRO_USD_MAX,
    unit: 'count',
    meaning: 'Micro-dollars that all calls of a day in UTC may cost together; 0 = no limit',
  },
  totalMicroUsdMax: {
    kind: 'integer',
    name: 'GATEWAY_TOTAL_MICRO_USD_MAX',
    flag: '--total-micro-usd-max',
    default: 0,
    min: 0,
    max: MICRO_USD_MAX,
    unit: 'count',
    meaning: 'Micro-dollars that all calls in the ledger may cost together; 0 = no limit',
  },
  unknownModel: {
    kind: 'text',
    name: 'GATEWAY_UNKNOWN_MODEL',
    flag: '--unknown-model',
    default: 'deny',
    choices: ['deny', 'unmetered'],
    meaning: 'A model whose price nobody knows, where money is limited: refused, or passed without a cost',
  },
  inputBytesPerToken: {
    kind: 'integer',
    name: 'GATEWAY_INPUT_BYTES_PER_TOKEN',
    flag: '--input-bytes-per-token',
    default: 1,
    min: 1,
    max: 4,
    unit: 'bytes',
    meaning:
      'Bytes of what is new in a request that are reserved for as a token. With 1 nothing, however dense, can pass a limit; with more a limit may be smaller than the first request is long, and what is denser can pass it once',
  },
  allowPrivateEgress: {
    kind: 'flag',
    name: 'GATEWAY_ALLOW_PRIVATE_EGRESS',
    flag: '--allow-private-egress',
    default: false,
    meaning: 'Hosts that a profile names may have private and loopback addresses',
  },
  egressBytesMax: {
    kind: 'integer',
    name: 'GATEWAY_EGRESS_BYTES_MAX',
    flag: '--egress-bytes-max',
    default: 256 * 2 ** 20,
    min: 0,
    max: 2 ** 40,
    unit: 'bytes',
    meaning: 'What an attempt may send to such hosts, and receive of them',
  },
  retentionMs: {
    kind: 'integer',
    name: 'GATEWAY_RETENTION_MS',
    flag: '--retention-ms',
    default: 30 * DAY_MS,
    min: DAY_MS,
    max: 366 * DAY_MS,
    unit: 'ms',
    meaning: 'How long the ledger keeps the calls of an attempt that is over, once its agent has passed them on',
  },
  logLevel: {
    kind: 'text',
    name: 'LOG_LEVEL',
    flag: '--log-level',
    default: 'info',
    choices: ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'],
    meaning: 'Least severe level that is logged',
  },
  logFile: {
    kind: 'text',
    name: 'LOG_FILE',
    flag: '--log-file',
    default: '',
    meaning: 'File to log to instead of standard output; reopened on SIGHUP',
  },
  drainMs: {
    kind: 'integer',
    name: 'DRAIN_MS',
    flag: '--drain-ms',
    default: 8000,
    min: 0,
    max: 3_600_000,
    unit: 'ms',
    meaning: 'How long calls under way may take after SIGTERM',
  },
} as const satisfies SettingsTable

export type GatewaySettings = Settings<typeof SETTINGS>
