/** Redis and PostgreSQL for the peers that need one: on loopback, in the scratch folder, with durable settings. */
import { spawnSync } from 'node:child_process'
import { chownSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePort, listening, startProcess } from '../processes.ts'
import type { Part, Place } from '../rig.ts'

export type Broker = { port: number; parts: readonly Part[]; stop: () => Promise<void> }

export const noBroker = async (): Promise<Broker> => ({ port: 0, parts: [], stop: async () => {} })

const isInstalled = (program: string): boolean => spawnSync(program, ['--version']).error === undefined

export const redis = {
  missing: () => (isInstalled('redis-server') ? null : 'redis-server'),
  boot: async ({ folder, syncCounter }: Place): Promise<Broker> => {
    const port = await freePort()
    const syncs = syncCounter('redis')
    const place = ['--bind', '127.0.0.1', '--port', String(port), '--dir', folder]
    const durable = ['--save', '', '--appendonly', 'yes', '--appendfsync', 'always', '--maxmemory-policy', 'noeviction']
    const server = startProcess('redis-server', [...place, ...durable], { env: syncs?.env ?? {} })
    await listening(server, port)
    return { port, parts: [{ name: 'broker', pids: [server.pid], syncs }], stop: () => server.stop() }
  },
}

/** PostgreSQL will not run as root; then it runs as the user that its package makes. */
const postgresUser = (): { uid?: number; gid?: number } => {
  if (process.getuid?.() !== 0) return {}
  const id = (flag: string) => Number(spawnSync('id', [flag, 'postgres'], { encoding: 'utf8' }).stdout)
  return { uid: id('-u'), gid: id('-g') }
}

/** Made once in a run; a copy is ready in a tenth of the time. */
let cluster: string | undefined
const emptyCluster = (user: { uid?: number; gid?: number }): string => {
  if (cluster !== undefined) return cluster
  const folder = mkdtempSync(join(tmpdir(), 'bench-postgresql-'))
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }))
  if (user.uid !== undefined && user.gid !== undefined) chownSync(folder, user.uid, user.gid)
  const flags = ['-D', join(folder, 'data'), '-U', 'postgres', '-A', 'trust', '--no-sync', '-E', 'UTF8', '--locale=C']
  const made = spawnSync('initdb', flags, { ...user, cwd: folder, encoding: 'utf8' })
  if (made.status !== 0) throw new Error(`initdb: ${made.stderr}`)
  cluster = join(folder, 'data')
  return cluster
}

export const postgresql = {
  missing: () => (isInstalled('postgres') && isInstalled('initdb') ? null : 'PostgreSQL (postgres and initdb in PATH)'),
  boot: async ({ folder, syncCounter }: Place): Promise<Broker> => {
    const user = postgresUser()
    const data = join(folder, 'postgresql')
    mkdirSync(data)
    const copied = spawnSync('cp', ['-a', `${emptyCluster(user)}/.`, data], { encoding: 'utf8' })
    if (copied.status !== 0) throw new Error(`cp: ${copied.stderr}`)
    const port = await freePort()
    const syncs = syncCounter('postgresql')
    const settings = {
      listen_addresses: '127.0.0.1',
      port,
      unix_socket_directories: '',
      fsync: 'on',
      synchronous_commit: 'on',
      full_page_writes: 'on',
      shared_buffers: '256MB',
      max_wal_size: '4GB',
      jit: 'off',
    }
    const flags = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])
    const server = startProcess('postgres', ['-D', data, ...flags], { ...user, cwd: data, env: syncs?.env ?? {} })
    await listening(server, port)
    return { port, parts: [{ name: 'broker', pids: [server.pid], syncs }], stop: () => server.stop('SIGINT') }
  },
}

export const databaseUrl = (port: number): string => `postgres://postgres@127.0.0.1:${port}/postgres`
