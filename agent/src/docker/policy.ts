/**
 * The last look at the options of a container before Docker sees them, whoever made them. A list of what is allowed: an
 * option that is missing, loose or not known here is refused. Pure.
 */
import { isDeepStrictEqual } from 'node:util'
import type { Resources } from '@agent-executor/protocol'
import type Docker from 'dockerode'
import {
  ENV,
  GATEWAY,
  gatewayMount,
  HOME,
  INPUT,
  LABELS,
  OUTPUT,
  POOL_ENTRYPOINT,
  POOL_INPUT,
  POOL_INPUT_BYTES,
  TMP_BYTES,
  WORKSPACE,
} from './create-options.ts'

/** Answers whether a value is tight enough. */
type Rule = (value: unknown) => boolean
type Rules = Readonly<Record<string, Rule>>

const UID_MIN = 10_000

const is =
  (expected: unknown): Rule =>
  (value) =>
    isDeepStrictEqual(value, expected)
const oneOf =
  (...allowed: readonly unknown[]): Rule =>
  (value) =>
    allowed.includes(value)
const upTo =
  (most: number): Rule =>
  (value) =>
    Number.isSafeInteger(value) && (value as number) > 0 && (value as number) <= most
const matches =
  (pattern: RegExp): Rule =>
  (value) =>
    typeof value === 'string' && pattern.test(value)
const texts: Rule = (value) => Array.isArray(value) && value.every((each) => typeof each === 'string')
const object = (value: unknown): Record<string, unknown> =>
  typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}

const user: Rule = (value) => {
  const ids = /^(\d{1,9}):(\d{1,9})$/.exec(String(value))
  return ids !== null && Number(ids[1]) >= UID_MIN && Number(ids[2]) >= UID_MIN
}

/** These and no others, each with a value. */
const labels =
  (...names: readonly string[]): Rule =>
  (value) => {
    const given = object(value)
    return (
      isDeepStrictEqual(Object.keys(given).sort(), [...names].sort()) &&
      names.every((name) => typeof given[name] === 'string' && given[name] !== '')
    )
  }

const CONTAINER: Rules = {
  name: matches(/^agent-executor-[A-Za-z0-9][A-Za-z0-9._-]+$/),
  Image: matches(/^[A-Za-z0-9]/),
  Hostname: is('sandbox'),
  User: user,
  Entrypoint: (value) => texts(value) && (value as string[]).length > 0,
  Cmd: is([]),
  Env: is(ENV),
  WorkingDir: is(WORKSPACE),
  Labels: labels(LABELS.agent, LABELS.attempt),
  Tty: is(false),
  OpenStdin: is(false),
  StopSignal: is('SIGTERM'),
  Healthcheck: is({ Test: ['NONE'] }),
}

/** What a container of the pool has otherwise: a standard input that ends with whoever writes into it. */
const OF_POOL: Rules = {
  name: matches(/^agent-executor-pool-[a-z0-9]+$/),
  Entrypoint: is(POOL_ENTRYPOINT),
  Labels: labels(LABELS.agent, LABELS.pool),
  OpenStdin: is(true),
  StdinOnce: is(true),
  AttachStdin: is(true),
}

/** What one has otherwise that is asked what is in its image. */
const OF_PROBE: Rules = {
  name: matches(/^agent-executor-probe-[a-z0-9]+$/),
  Labels: labels(LABELS.agent, LABELS.probe),
}

/** Nothing that a set-user-id bit or a device file could help, and a size. */
const tmpfs =
  (bytesMax: number): Rule =>
  (value) => {
    const options = String(value).split(',')
    const size = options.flatMap((option) => /^size=(\d+)$/.exec(option)?.[1] ?? [])
    const known = /^(rw|exec|nosuid|nodev|uid=\d+|gid=\d+|mode=\d{4}|size=\d+)$/
    return (
      options.every((option) => known.test(option)) &&
      options.includes('nosuid') &&
      options.includes('nodev') &&
      size.length === 1 &&
      upTo(bytesMax)(Number(size[0]))
    )
  }

const ulimits =
  (most: Readonly<Record<string, number>>): Rule =>
  (value) => {
    const given = Array.isArray(value) ? value.map(object) : []
    return Object.entries(most).every(([name, limit]) => {
      const of = given.filter(({ Name }) => Name === name)
      const fits = (each: unknown) => Number.isSafeInteger(each) && (each as number) >= 0 && (each as number) <= limit
      return of.length === 1 && fits(of[0]?.Soft) && fits(of[0]?.Hard)
    })
  }

const log: Rule = (value) => {
  const { Type, Config } = object(value)
  const { 'max-size': size, 'max-file': files } = object(Config)
  return (Type === 'local' || Type === 'json-file') && Number(size) > 0 && Number(files) > 0
}

/** One volume that nobody else knows; of the host nothing but the folder that the gateway has made for the attempt. */
const mounts =
  (gatewayFolder: string | null): Rule =>
  (value) => {
    const given = Array.isArray(value) ? value : []
    const [input, ...rest] = given
    if (!isInput(input)) return false
    if (gatewayFolder === null) return rest.length === 0
    return isFolderOfSession(gatewayFolder) && isDeepStrictEqual(rest, [gatewayMount(gatewayFolder)])
  }

/** Absolute, to the letter, and deep enough to be nobody's but a session's. */
const isFolderOfSession = (folder: string): boolean =>
  folder.split('/').length > 3 &&
  /^(\/[^/]+)+\/[A-Za-z0-9_-]{8,64}$/.test(folder) &&
  folder.split('/').every((part) => part !== '.' && part !== '..')

const isInput: Rule = (value) => {
  const { Type, Source, Target, VolumeOptions, ...rest } = object(value)
  const { DriverConfig } = object(VolumeOptions)
  return (
    Type === 'volume' &&
    Source === '' &&
    Target === INPUT &&
    object(VolumeOptions).NoCopy === true &&
    isDeepStrictEqual(DriverConfig, { Name: 'local', Options: {} }) &&
    isDeepStrictEqual(rest, { ReadOnly: false })
  )
}

/** What is memory, and how much of it at most. */
const tmpfses =
  (bytesMax: Readonly<Record<string, number>>): Rule =>
  (value) =>
    isDeepStrictEqual(Object.keys(object(value)).sort(), Object.keys(bytesMax).sort()) &&
    Object.entries(object(value)).every(([path, options]) => tmpfs(bytesMax[path] as number)(options))

const hostRules = (maxima: Resources, isOfPool: boolean, gatewayFolder: string | null): Rules => ({
  NetworkMode: is('none'),
  ReadonlyRootfs: is(true),
  Privileged: is(false),
  AutoRemove: is(false),
  RestartPolicy: is({ Name: 'no' }),
  CapDrop: is(['ALL']),
  SecurityOpt: is(['no-new-privileges']),
  Init: is(true),
  IpcMode: oneOf('private', 'none'),
  ShmSize: upTo(TMP_BYTES),
  Memory: upTo(maxima.memoryBytes),
  MemorySwap: upTo(maxima.memoryBytes),
  NanoCpus: upTo(Math.round(maxima.cpus * 1e9)),
  PidsLimit: upTo(maxima.pidsMax),
  Ulimits: ulimits({ core: 0, fsize: maxima.workspaceBytes, nofile: 4096 }),
  LogConfig: log,
  Tmpfs: tmpfses({
    '/tmp': TMP_BYTES,
    [HOME]: TMP_BYTES,
    [WORKSPACE]: maxima.workspaceBytes,
    [OUTPUT]: maxima.workspaceBytes,
    ...(isOfPool ? { [POOL_INPUT]: POOL_INPUT_BYTES } : {}),
  }),
  Mounts: mounts(gatewayFolder),
})

const HOST_OPTIONAL: Rules = { Runtime: matches(/^[A-Za-z0-9._-]{1,64}$/) }

/** What is missing, loose or unknown in the options of a container, for an attempt, the pool or a probe; empty where it may be made. */
export function loosenings(
  options: Docker.ContainerCreateOptions,
  maxima: Resources,
  of: { for: 'attempt'; gatewayFolder: string | null } | { for: 'pool' } | { for: 'probe' } = {
    for: 'attempt',
    gatewayFolder: null,
  },
): string[] {
  const { HostConfig = {}, ...container } = options
  const own = { attempt: {}, pool: OF_POOL, probe: OF_PROBE }[of.for]
  const rules = hostRules(maxima, of.for === 'pool', of.for === 'attempt' ? of.gatewayFolder : null)
  const swap = HostConfig.MemorySwap === HostConfig.Memory ? [] : ['HostConfig.MemorySwap']
  return [
    ...broken('', container, { ...CONTAINER, ...own }, {}),
    ...new Set([...broken('HostConfig.', HostConfig, rules, HOST_OPTIONAL), ...swap]),
  ]
}

/** Mounts of a container as it was made that the options did not ask for: an image may declare volumes, whose size nothing bounds. */
export const strayMounts = (targets: readonly string[], hasGateway = false): string[] =>
  targets.filter((target) => target !== INPUT && !(hasGateway && target === GATEWAY))

const broken = (prefix: string, given: object, rules: Rules, optional: Rules): string[] => {
  const values = given as Readonly<Record<string, unknown>>
  const names = new Set([...Object.keys(rules), ...Object.keys(values)])
  return [...names].flatMap((name) => {
    const rule = rules[name] ?? optional[name]
    return rule?.(values[name]) === true ? [] : [prefix + name]
  })
}
