/** Every setting of the control server: name, flag, default, range, unit, meaning. `docs/configuration.md` is generated from it. */
import { crashSettings, type Settings, type SettingsTable } from '@agent-executor/runtime'
import { CRASH_POINT_NAMES } from './crash-points.ts'

const DAY_MS = 86_400_000

export const SETTINGS = {
  port: { kind: 'integer', name: 'PORT', flag: '--port', default: 3000, min: 0, max: 65_535, unit: 'port', meaning: 'Port to listen on; 0 = any free one' },
  host: { kind: 'text', name: 'HOST', flag: '--host', default: '127.0.0.1', pattern: /^[A-Za-z0-9.:_-]+$/, meaning: 'Address to listen on' },
  dataDir: { kind: 'text', name: 'DATA_DIR', flag: '--data-dir', default: 'control-server/data', meaning: 'Folder that holds commands.db' },
  logLevel: { kind: 'text', name: 'LOG_LEVEL', flag: '--log-level', default: 'info', choices: ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'], meaning: 'Least severe level that is logged' },
  logFile: { kind: 'text', name: 'LOG_FILE', flag: '--log-file', default: '', meaning: 'File to log to instead of standard output; reopened on SIGHUP' },
  leaseMs: { kind: 'integer', name: 'LEASE_MS', flag: '--lease-ms', default: 30_000, min: 1000, max: 3_600_000, unit: 'ms', meaning: 'How long an agent may be silent' },
  offerMs: { kind: 'integer', name: 'OFFER_MS', flag: '--offer-ms', default: 30_000, min: 100, max: 3_600_000, unit: 'ms', meaning: 'How long an offer may stay unaccepted before another agent gets it' },
  sweepMs: { kind: 'integer', name: 'SWEEP_MS', flag: '--sweep-ms', default: 1000, min: 20, max: 60_000, unit: 'ms', meaning: 'Longest time between two looks at leases and deadlines' },
  lostGraceMs: { kind: 'integer', name: 'LOST_GRACE_MS', flag: '--lost-grace-ms', default: 1_800_000, min: 0, max: 90 * DAY_MS, unit: 'ms', meaning: 'LOST becomes FAILED after what is left of the timeout and this' },
  cancelGraceMs: { kind: 'integer', name: 'CANCEL_GRACE_MS', flag: '--cancel-grace-ms', default: 5000, min: 0, max: 600_000, unit: 'ms', meaning: 'How long cancelled work may take to stop by itself' },
  poisonAfter: { kind: 'integer', name: 'POISON_AFTER', flag: '--poison-after', default: 3, min: 1, max: 100, unit: 'count', meaning: 'Crashed agents that make a command POISONED' },
  delayMsMax: { kind: 'integer', name: 'DELAY_MS_MAX', flag: '--delay-ms-max', default: DAY_MS, min: 0, max: 366 * DAY_MS, unit: 'ms', meaning: 'Longest DELAY that may be submitted' },
  bodyBytesMax: { kind: 'integer', name: 'BODY_BYTES_MAX', flag: '--body-bytes-max', default: 1_048_576, min: 1024, max: 67_108_864, unit: 'bytes', meaning: 'Largest body of a submission' },
  syncBytesMax: { kind: 'integer', name: 'SYNC_BYTES_MAX', flag: '--sync-bytes-max', default: 33_554_432, min: 1_048_576, max: 268_435_456, unit: 'bytes', meaning: 'Largest body of a sync or a reported result; at least four times RESULT_BYTES_MAX' },
  resultBytesMax: { kind: 'integer', name: 'RESULT_BYTES_MAX', flag: '--result-bytes-max', default: 1_048_576, min: 1024, max: 16_777_216, unit: 'bytes', meaning: 'Largest result that is stored whole; a larger one is cut and flagged' },
  idempotencyMs: { kind: 'integer', name: 'IDEMPOTENCY_MS', flag: '--idempotency-ms', default: DAY_MS, min: 1000, max: 90 * DAY_MS, unit: 'ms', meaning: 'How long an Idempotency-Key is remembered' },
  drainMs: { kind: 'integer', name: 'DRAIN_MS', flag: '--drain-ms', default: 8000, min: 0, max: 600_000, unit: 'ms', meaning: 'How long requests in flight may take after SIGTERM' },
  connectionsMax: { kind: 'integer', name: 'CONNECTIONS_MAX', flag: '--connections-max', default: 12_000, min: 10, max: 100_000, unit: 'count', meaning: 'Connections at a time' },
  allowedHosts: { kind: 'list', name: 'ALLOWED_HOSTS', flag: '--allowed-hosts', default: [], pattern: /^[A-Za-z0-9.:_-]+$/, meaning: 'Host headers accepted besides the loopback names and HOST' },
  allowUnauthenticated: { kind: 'flag', name: 'ALLOW_UNAUTHENTICATED', flag: '--allow-unauthenticated', default: false, meaning: 'Listen on an address other than loopback although there are no keys' },
  restored: { kind: 'flag', name: 'RESTORED', flag: '--restored', default: false, meaning: 'The database file was restored from a backup: begin a new epoch and take in the journals first' },
  ...crashSettings(CRASH_POINT_NAMES),
} as const satisfies SettingsTable

export type ServerSettings = Settings<typeof SETTINGS>
