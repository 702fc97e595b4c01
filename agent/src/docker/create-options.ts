/** From an attempt to the options its container is made with. Pure; `policy.ts` looks at what comes out. */
import type { Resources } from '@agent-executor/protocol'
import type Docker from 'dockerode'

/** Where the input is, which only root may write; and the folder in which the engine works. */
export const INPUT = '/input'
export const WORKSPACE = '/workspace'
/** Everything in it is kept where a command does not say otherwise. */
export const OUTPUT = '/output'
export const HOME = '/home/agent'
/** Where the folder with the socket of the attempt's gateway is. */
export const GATEWAY = '/gateway'
export const TMP_BYTES = 64 * 2 ** 20
export const UID = 10_001
/** Where the input of a container of the pool is: memory, which the sandbox itself writes. */
export const POOL_INPUT = `${INPUT}/own`
export const POOL_INPUT_BYTES = 2 ** 20
/** Reads its program from standard input. */
export const POOL_ENTRYPOINT = ['/bin/sh']

/** Docker's log keeps two to three files of so much: what is shorter is whole. */
export const LOG_FILE_BYTES = 10 * 2 ** 20

/**
 * One of the pool has `pool`, its configuration, in place of `attempt`: labels never change, but its name does. One that
 * is asked what is in its image has `probe`.
 */
export const LABELS = {
  agent: 'agent-executor.agent',
  attempt: 'agent-executor.attempt',
  pool: 'agent-executor.pool',
  probe: 'agent-executor.probe',
} as const

export const probeLabels = (agentId: string) => ({ [LABELS.agent]: agentId, [LABELS.probe]: 'engine' })

export const containerName = (attemptId: string): string => `agent-executor-${attemptId}`

/** The attempt that has given a container its name; null for one that waits in the pool, whose name has no dot. */
export const attemptOf = (name: string): string | null => /^agent-executor-(.+\.\d+)$/.exec(name)?.[1] ?? null

export const ENV = [`HOME=${HOME}`, 'TMPDIR=/tmp']

export type Sandbox = {
  attemptId: string
  agentId: string
  image: string
  entrypoint: readonly string[]
  resources: Resources
  /** Docker's name of another runtime, such as `runsc`; empty is its default. */
  runtime: string
  /** On this machine, with the socket of the attempt; absent or null for what has no way out. */
  gatewayFolder?: string | null
}

export function createOptions(sandbox: Sandbox): Docker.ContainerCreateOptions {
  const { attemptId, agentId, image, entrypoint, resources, runtime, gatewayFolder = null } = sandbox
  const { memoryBytes, cpus, pidsMax, workspaceBytes } = resources
  return {
    name: containerName(attemptId),
    Image: image,
    // The same in each: the id of the container would be.
    Hostname: 'sandbox',
    User: `${UID}:${UID}`,
    Entrypoint: [...entrypoint],
    Cmd: [],
    // The same in each: `docker inspect` shows it. What a command brings is in a file.
    Env: [...ENV],
    WorkingDir: WORKSPACE,
    Labels: { [LABELS.agent]: agentId, [LABELS.attempt]: attemptId },
    Tty: false,
    OpenStdin: false,
    StopSignal: 'SIGTERM',
    // That of the image would run commands beside the engine.
    Healthcheck: { Test: ['NONE'] },
    HostConfig: {
      NetworkMode: 'none',
      ReadonlyRootfs: true,
      Privileged: false,
      // The name of a container that is gone is free: nothing would keep a second one from being made.
      AutoRemove: false,
      RestartPolicy: { Name: 'no' },
      CapDrop: ['ALL'],
      SecurityOpt: ['no-new-privileges'],
      Init: true,
      IpcMode: 'private',
      ShmSize: TMP_BYTES,
      Memory: memoryBytes,
      MemorySwap: memoryBytes,
      NanoCpus: Math.round(cpus * 1e9),
      PidsLimit: pidsMax,
      Ulimits: [
        { Name: 'core', Soft: 0, Hard: 0 },
        // Also bounds each of the three files on a disk that the sandbox may write: `once`, and what is packed in the end.
        { Name: 'fsize', Soft: workspaceBytes, Hard: workspaceBytes },
        { Name: 'nofile', Soft: 1024, Hard: 4096 },
      ],
      LogConfig: { Type: 'local', Config: { 'max-size': String(LOG_FILE_BYTES), 'max-file': '3' } },
      Tmpfs: {
        '/tmp': `rw,exec,nosuid,nodev,mode=1777,size=${TMP_BYTES}`,
        [HOME]: `${OWN},size=${TMP_BYTES}`,
        [WORKSPACE]: `${OWN},size=${workspaceBytes}`,
        [OUTPUT]: `${OWN},size=${workspaceBytes}`,
      },
      Mounts: [
        { Type: 'volume', Source: '', Target: INPUT, ReadOnly: false, VolumeOptions: INPUT_VOLUME },
        ...(gatewayFolder === null ? [] : [gatewayMount(gatewayFolder)]),
      ],
      ...(runtime === '' ? {} : { Runtime: runtime }),
    },
  }
}

export type PoolSandbox = Omit<Sandbox, 'attemptId' | 'entrypoint' | 'gatewayFolder'> & {
  name: string
  /** Tells it from those that were made with other settings. */
  configuration: string
}

/** As for an attempt, and besides: an open standard input, which ends with whoever writes into it, and a place for it. */
export function poolOptions({ name, configuration, ...sandbox }: PoolSandbox): Docker.ContainerCreateOptions {
  const { HostConfig, ...container } = createOptions({
    ...sandbox,
    ...{ attemptId: '', entrypoint: POOL_ENTRYPOINT, gatewayFolder: null },
  })
  return {
    ...container,
    name,
    Labels: { [LABELS.agent]: sandbox.agentId, [LABELS.pool]: configuration },
    OpenStdin: true,
    StdinOnce: true,
    AttachStdin: true,
    HostConfig: {
      ...HostConfig,
      Tmpfs: { ...HostConfig?.Tmpfs, [POOL_INPUT]: `${OWN},size=${POOL_INPUT_BYTES}` },
    },
  }
}

/** As for an attempt without a way out: what is asked is the image alone. */
export function probeOptions({
  name,
  ...sandbox
}: Omit<Sandbox, 'attemptId' | 'gatewayFolder'> & { name: string }): Docker.ContainerCreateOptions {
  return {
    ...createOptions({ ...sandbox, attemptId: '', gatewayFolder: null }),
    ...{ name, Labels: probeLabels(sandbox.agentId) },
  }
}

/** The folder and not the socket: a gateway that was started again has made another one in it. Nothing follows it later. */
export const gatewayMount = (folder: string) => ({
  ...({ Type: 'bind', Source: folder, Target: GATEWAY, ReadOnly: true } as const),
  BindOptions: { Propagation: 'rprivate' as const },
})

const OWN = `rw,exec,nosuid,nodev,uid=${UID},gid=${UID},mode=0700`

/** Nothing of the image is copied into it, so that its folder is root's. */
const INPUT_VOLUME = { NoCopy: true, Labels: {}, DriverConfig: { Name: 'local', Options: {} } }
