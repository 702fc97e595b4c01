/**
 * A Docker engine of a test's own, which may be killed: its dockerd and containerd beside the machine's, with their own
 * folders, sockets and images. Needs root and the programs of Docker.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import Dockerode from 'dockerode'
import { dockerode, hasImage, IMAGE } from './docker.ts'
import { needs } from './processes.ts'

const PROGRAMS = ['dockerd', 'containerd', 'containerd-shim-runc-v2', 'unshare']
const isProgram = (name: string): boolean =>
  (process.env.PATH ?? '').split(':').some((folder) => existsSync(join(folder, name)))

/** Options of a test with such an engine. */
export const needsEngine = needs(
  `root, Docker's programs and the image ${IMAGE}`,
  process.getuid?.() === 0 && PROGRAMS.every(isProgram) && hasImage,
)

const READY_MS = 60_000
const LOOK_MS = 50

/** With the image. `live-restore`: containers go on while dockerd is away. */
export async function startDockerEngine() {
  // Short: the path of a socket has a limit, and the sockets of containers are below it.
  const dir = mkdtempSync(join(tmpdir(), 'engine-'))
  const path = (name: string): string => join(dir, name)
  mkdirSync(path('containerd'))
  writeFileSync(
    path('containerd.toml'),
    [
      'version = 2',
      `root = "${path('containerd/root')}"`,
      `state = "${path('containerd/state')}"`,
      'disabled_plugins = ["io.containerd.grpc.v1.cri"]',
      '[grpc]',
      `address = "${path('containerd.sock')}"`,
    ].join('\n'),
  )
  const socketPath = path('docker.sock')
  const api = new Dockerode({ socketPath })
  const log = openSync(path('log'), 'a')
  const started = (program: string, flags: readonly string[]): ChildProcess =>
    spawn(program, flags, { stdio: ['ignore', log, log] })
  let containerd: ChildProcess | null = null
  let dockerd: ChildProcess | null = null

  const until = async (what: string, isThere: () => boolean | Promise<boolean>): Promise<void> => {
    const deadlineMs = performance.now() + READY_MS
    while (!(await isThere())) {
      if (performance.now() > deadlineMs)
        throw new Error(`${what} is not there: ${readFileSync(path('log'), 'utf8').slice(-2000)}`)
      await sleep(LOOK_MS)
    }
  }
  const answers = (): Promise<boolean> =>
    api.ping().then(
      () => true,
      () => false,
    )

  const start = async (): Promise<void> => {
    if (containerd === null) {
      containerd = started('containerd', ['--config', path('containerd.toml'), '--log-level', 'warn'])
      await until('containerd', () => existsSync(path('containerd.sock')))
    }
    rmSync(path('docker.pid'), { force: true })
    // In a network of its own: with `--bridge=none` it removes the bridge of the Docker that is there.
    dockerd = started('unshare', [
      ...[
        '--net',
        '--',
        'dockerd',
        '--live-restore',
        '--bridge=none',
        '--iptables=false',
        '--ip-forward=false',
        '--log-level=warn',
      ],
      ...['--host', `unix://${socketPath}`, '--containerd', path('containerd.sock'), '--pidfile', path('docker.pid')],
      ...['--data-root', path('data'), '--exec-root', path('exec')],
    ])
    await until('dockerd', answers)
  }

  const end = async (child: ChildProcess | null, signal: NodeJS.Signals): Promise<void> => {
    if (child === null || child.exitCode !== null || child.signalCode !== null) return
    child.kill(signal)
    await once(child, 'exit')
  }

  /** Ends dockerd alone; containers go on. */
  const stopDockerd = async (signal: NodeJS.Signals): Promise<void> => {
    await end(dockerd, signal)
    dockerd = null
  }

  /** As a loss of power: dockerd, containerd, their shims and all that runs in containers. */
  const loseHost = async (): Promise<void> => {
    await stopDockerd('SIGKILL')
    await end(containerd, 'SIGKILL')
    containerd = null
    rmSync(path('containerd.sock'), { force: true })
    for (const pid of shimsBelow(dir)) {
      for (const child of childrenOf(pid)) kill(child)
      kill(pid)
    }
    await until('the end of the shims', () => shimsBelow(dir).length === 0)
  }

  await start()
  await load(api)
  return {
    api,
    socketPath,
    start,
    stopDockerd,
    loseHost,
    /** With all its containers and images, as if it had never been. Not while it runs. */
    async forget(): Promise<void> {
      unmountBelow(dir)
      for (const name of ['data', 'exec', 'containerd']) rmSync(path(name), { recursive: true, force: true })
      mkdirSync(path('containerd'))
      await start()
      await load(api)
    },
    async close(): Promise<void> {
      await loseHost()
      unmountBelow(dir)
      rmSync(dir, { recursive: true, force: true })
    },
  }
}

/** The image, from the Docker of this machine. */
async function load(api: Dockerode): Promise<void> {
  const answer = await api.loadImage(await dockerode.getImage(IMAGE).get())
  answer.resume()
  await once(answer, 'end')
}

/** Nobody's children any more: they are found by the socket in their command line. */
const shimsBelow = (dir: string): number[] =>
  processes().filter((pid) => {
    const command = read(`/proc/${pid}/cmdline`)
    return command.includes('containerd-shim') && command.includes(dir)
  })

const childrenOf = (parent: number): number[] =>
  processes().filter((pid) => Number(/^PPid:\s*(\d+)$/m.exec(read(`/proc/${pid}/status`))?.[1]) === parent)

const processes = (): number[] => readdirSync('/proc').map(Number).filter(Number.isInteger)

/** Empty for a process that is gone. */
const read = (file: string): string => {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return ''
  }
}

const kill = (pid: number): void => {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // It is gone.
  }
}

const unmountBelow = (dir: string): void => {
  const mounts = readFileSync('/proc/mounts', 'utf8').split('\n')
  const below = mounts.map((line) => line.split(' ')[1] ?? '').filter((mount) => mount.startsWith(dir))
  if (below.length > 0) spawnSync('umount', ['-l', ...below.reverse()])
}
