/** Every setting of the agent: name, flag, default, range, unit, meaning. `docs/configuration.md` is generated from it. */
import { crashSettings, type Settings, type SettingsTable } from '@agent-executor/runtime'
import { CRASH_POINT_NAMES } from './crash-points.ts'

const DAY_MS = 86_400_000

export const SETTINGS = {
  serverUrl: {
    kind: 'text',
    name: 'SERVER_URL',
    flag: '--server-url',
    default: 'http://localhost:3000',
    pattern: /^https?:\/\/[^\s/@]+(\/\S*)?$/,
    meaning: 'Where the control server listens',
  },
  agentId: {
    kind: 'text',
    name: 'AGENT_ID',
    flag: '--agent-id',
    default: '',
    pattern: /^([A-Za-z0-9][A-Za-z0-9._-]{0,99})?$/,
    meaning: 'Name of this agent; empty = made once and kept in the journal',
  },
  pollIntervalMs: {
    kind: 'integer',
    name: 'POLL_INTERVAL',
    flag: '--poll-interval',
    default: 2000,
    min: 50,
    max: 60_000,
    unit: 'ms',
    meaning:
      'Time between two syncs without news; longer, as the server says, for an agent that holds nothing and has a wait call open',
  },
  dataDir: {
    kind: 'text',
    name: 'DATA_DIR',
    flag: '--data-dir',
    default: 'agent/data',
    meaning: 'Folder that holds idempotency.db',
  },
  slots: {
    kind: 'list',
    name: 'SLOTS',
    flag: '--slots',
    default: ['DELAY=100', 'HTTP_GET_JSON=10'],
    pattern: /^(\d{1,6}|[A-Z][A-Z0-9_]{0,63}=\d{1,6})$/,
    meaning: 'Attempts at a time by command type, or one number for every type',
  },
  labels: {
    kind: 'list',
    name: 'LABELS',
    flag: '--labels',
    default: [],
    pattern: /^[A-Za-z0-9][A-Za-z0-9._=:/-]{0,99}$/,
    meaning: 'What commands may require of this agent, e.g. gpu,zone=eu',
  },
  httpAllowPrivate: {
    kind: 'text',
    name: 'HTTP_ALLOW_PRIVATE',
    flag: '--http-allow-private',
    default: 'true',
    choices: ['true', 'false'],
    meaning: 'Whether HTTP_GET_JSON may reach private and loopback addresses',
  },
  httpAllow: {
    kind: 'list',
    name: 'HTTP_ALLOW',
    flag: '--http-allow',
    default: [],
    pattern: /^[A-Za-z0-9.:_/-]+$/,
    meaning: 'Hosts and CIDR blocks that HTTP_GET_JSON may reach although they are refused otherwise',
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
    meaning: 'How long work may take to finish after SIGTERM',
  },
  journalRetentionMs: {
    kind: 'integer',
    name: 'JOURNAL_RETENTION_MS',
    flag: '--journal-retention-ms',
    default: 14 * DAY_MS,
    min: DAY_MS,
    max: 366 * DAY_MS,
    unit: 'ms',
    meaning: 'How long acknowledged attempts are remembered',
  },
  journalRowsMax: {
    kind: 'integer',
    name: 'JOURNAL_ROWS_MAX',
    flag: '--journal-rows-max',
    default: 100_000,
    min: 1000,
    max: 10_000_000,
    unit: 'count',
    meaning: 'Acknowledged attempts remembered at most',
  },
  ...crashSettings(CRASH_POINT_NAMES),
} as const satisfies SettingsTable

export type AgentSettings = Settings<typeof SETTINGS>
