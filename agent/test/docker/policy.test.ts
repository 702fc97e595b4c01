// What a container may be made with: what the agent makes passes, and each thing that is looser is found.
import t from 'tap'
import { attemptOf, probeOptions } from '../../src/docker/create-options.ts'
import { loosenings, strayMounts } from '../../src/docker/policy.ts'
import { MIB, poolSandbox, RESOURCES, sandbox } from './fixtures/builders.ts'

type Options = Record<string, unknown> & { HostConfig: Record<string, unknown> }

/** The options of the agent with some of them changed; `undefined` takes one away. */
const changed = (container: object, host: object = {}): Options => {
  const { HostConfig, ...rest } = sandbox() as unknown as Options
  const without = (values: Record<string, unknown>) =>
    Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined))
  return { ...without({ ...rest, ...container }), HostConfig: without({ ...HostConfig, ...host }) } as Options
}
const found = (container: object, host: object = {}) => loosenings(changed(container, host), RESOURCES)
const { Tmpfs, Mounts, Ulimits } = changed({}).HostConfig as {
  Tmpfs: Record<string, string>
  Mounts: [Record<string, unknown>]
  Ulimits: { Name: string; Soft: number; Hard: number }[]
}

t.test('what the agent makes passes, with what a command asked for, up to the maxima', async (t) => {
  t.same(loosenings(sandbox(), RESOURCES), [])
  t.same(loosenings(sandbox({ runtime: 'runsc' }), RESOURCES), [])
  t.same(loosenings(sandbox({ resources: { ...RESOURCES, cpus: 0.01, pidsMax: 4 } }), RESOURCES), [])
})

t.test('everything that has to be there is missed where it is not', async (t) => {
  const { HostConfig, ...container } = changed({})
  for (const name of Object.keys(container)) t.same(found({ [name]: undefined }), [name])
  for (const name of Object.keys(HostConfig))
    t.ok(found({}, { [name]: undefined }).includes(`HostConfig.${name}`), name)
  t.ok(loosenings({}, RESOURCES).length > 25)
})

t.test('what the policy does not know is refused, whatever its value', async (t) => {
  for (const [name, value] of Object.entries({
    Volumes: { '/data': {} },
    ExposedPorts: { '80/tcp': {} },
    NetworkingConfig: { EndpointsConfig: { bridge: {} } },
    MacAddress: '02:42:ac:11:00:02',
    StdinOnce: true,
    Shell: ['/bin/bash'],
    Anything: null,
  }))
    t.same(found({ [name]: value }), [name])
  for (const [name, value] of Object.entries({
    Binds: ['/:/host'],
    VolumesFrom: ['other'],
    CapAdd: ['SYS_ADMIN'],
    Devices: [{ PathOnHost: '/dev/kvm', PathInContainer: '/dev/kvm', CgroupPermissions: 'rwm' }],
    DeviceRequests: [{ Count: -1, Capabilities: [['gpu']] }],
    DeviceCgroupRules: ['a *:* rwm'],
    PidMode: 'host',
    UTSMode: 'host',
    UsernsMode: 'host',
    CgroupnsMode: 'host',
    CgroupParent: '/',
    ExtraHosts: ['db:10.0.0.1'],
    Dns: ['1.1.1.1'],
    Links: ['db'],
    PortBindings: { '80/tcp': [{ HostPort: '80' }] },
    PublishAllPorts: true,
    GroupAdd: ['0'],
    OomKillDisable: true,
    OomScoreAdj: -1000,
    Sysctls: { 'net.ipv4.ip_forward': '1' },
    MaskedPaths: [],
    ReadonlyPaths: [],
    StorageOpt: { size: '100G' },
    VolumeDriver: 'other',
    CpuRealtimeRuntime: 950_000,
  }))
    t.same(found({}, { [name]: value }), [`HostConfig.${name}`])
})

t.test('each option that is loose is named', async (t) => {
  const container: [string, unknown][] = [
    ...['root', '0', '0:0', '1000:1000', '10001', '10001:0', '9999:10001', '10001:9999', ''].map(
      (user): [string, unknown] => ['User', user],
    ),
    ['Healthcheck', { Test: ['CMD', 'true'] }],
    ['Tty', true],
    ['OpenStdin', true],
    ['StopSignal', 'SIGUSR1'],
    ['Cmd', ['sh']],
    ['Entrypoint', []],
    ['Labels', { 'agent-executor.agent': 'a' }],
    ['Hostname', 'other'],
    ['WorkingDir', '/'],
    ['name', 'anything'],
    ['Env', []],
    ['Env', ['HOME=/home/agent', 'TMPDIR=/tmp', 'TOKEN=hunter2']],
    ['Labels', { 'agent-executor.agent': 'a', 'agent-executor.attempt': 'c.1', 'agent-executor.pool': 'x' }],
  ]
  for (const [name, value] of container) t.same(found({ [name]: value }), [name], `${name} ${JSON.stringify(value)}`)

  const host: [string, unknown][] = [
    ...['host', 'bridge', 'default', 'container:other', ''].map((mode): [string, unknown] => ['NetworkMode', mode]),
    ['ReadonlyRootfs', false],
    ['Privileged', true],
    ['AutoRemove', true],
    ['RestartPolicy', { Name: 'always' }],
    ['CapDrop', []],
    ['CapDrop', ['NET_RAW']],
    ['SecurityOpt', []],
    ['SecurityOpt', ['no-new-privileges', 'seccomp=unconfined']],
    ['SecurityOpt', ['no-new-privileges', 'apparmor=unconfined']],
    ['SecurityOpt', ['no-new-privileges:false']],
    ['Init', false],
    ['IpcMode', 'host'],
    ['IpcMode', 'shareable'],
    ['ShmSize', 65 * MIB],
    ['ShmSize', 0],
    ['NanoCpus', 0],
    ['NanoCpus', 500_000_001],
    ['PidsLimit', -1],
    ['PidsLimit', 0],
    ['PidsLimit', 65],
    ['Ulimits', []],
    ['Ulimits', Ulimits.map((each) => (each.Name === 'fsize' ? { ...each, Hard: 33 * MIB } : each))],
    ['Ulimits', Ulimits.map((each) => (each.Name === 'core' ? { ...each, Soft: -1 } : each))],
    ['Ulimits', [...Ulimits, { Name: 'core', Soft: 0, Hard: 0 }]],
    ['LogConfig', { Type: 'none', Config: {} }],
    ['LogConfig', { Type: 'json-file', Config: {} }],
    ['LogConfig', { Type: 'local', Config: { 'max-size': '1' } }],
    ['LogConfig', { Type: 'syslog', Config: { 'max-size': '1', 'max-file': '1' } }],
    ['Runtime', ''],
    ['Tmpfs', { ...Tmpfs, '/run': 'size=1' }],
    ['Tmpfs', { '/workspace': Tmpfs['/workspace'] }],
    ...['nosuid', 'nodev', `size=${32 * MIB}`].map((option): [string, unknown] => [
      'Tmpfs',
      {
        ...Tmpfs,
        '/workspace': Tmpfs['/workspace']
          ?.split(',')
          .filter((each) => each !== option)
          .join(','),
      },
    ]),
    ['Tmpfs', { ...Tmpfs, '/workspace': Tmpfs['/workspace']?.replace(/size=\d+/, `size=${33 * MIB}`) }],
    ['Tmpfs', { ...Tmpfs, '/tmp': `${Tmpfs['/tmp']},size=1` }],
    ['Tmpfs', { ...Tmpfs, '/tmp': `${Tmpfs['/tmp']},suid` }],
    ['Mounts', []],
    ['Mounts', [Mounts[0], { Type: 'bind', Source: '/', Target: '/host' }]],
    ['Mounts', [{ ...Mounts[0], Type: 'bind', Source: '/var/run/docker.sock' }]],
    ['Mounts', [{ ...Mounts[0], Source: 'of-somebody-else' }]],
    ['Mounts', [{ ...Mounts[0], Target: '/etc' }]],
    ['Mounts', [{ ...Mounts[0], VolumeOptions: { NoCopy: false } }]],
    [
      'Mounts',
      [
        {
          ...Mounts[0],
          VolumeOptions: {
            NoCopy: true,
            DriverConfig: { Name: 'local', Options: { type: 'none', o: 'bind', device: '/' } },
          },
        },
      ],
    ],
  ]
  for (const [name, value] of host)
    t.same(found({}, { [name]: value }), [`HostConfig.${name}`], `${name} ${JSON.stringify(value)}`)
})

t.test('a container of the pool has an open standard input, and nothing else that is looser', async (t) => {
  const made = poolSandbox() as unknown as Options
  t.same(loosenings(made, RESOURCES, { for: 'pool' }), [])
  t.same(loosenings(poolSandbox({ runtime: 'runsc' }), RESOURCES, { for: 'pool' }), [])
  t.same(
    loosenings(made, RESOURCES).sort(),
    ['AttachStdin', 'HostConfig.Tmpfs', 'Labels', 'OpenStdin', 'StdinOnce'],
    'an attempt is not made so',
  )
  t.same(
    loosenings(sandbox(), RESOURCES, { for: 'pool' }).sort(),
    ['AttachStdin', 'Entrypoint', 'HostConfig.Tmpfs', 'Labels', 'OpenStdin', 'StdinOnce', 'name'],
    'and one of the pool not as an attempt',
  )
  const { HostConfig, ...container } = made
  const pooled = (change: object, host: object = {}) =>
    loosenings({ ...container, ...change, HostConfig: { ...HostConfig, ...host } }, RESOURCES, { for: 'pool' })
  for (const [name, value] of [
    ['StdinOnce', false],
    ['StdinOnce', undefined],
    ['OpenStdin', false],
    ['AttachStdin', false],
    ['Tty', true],
    ['AttachStdout', true],
    ['Entrypoint', ['/bin/sh', '-c', 'true']],
    ['Entrypoint', ['/bin/bash']],
    ['Cmd', ['-c']],
    ['Env', ['HOME=/home/agent']],
    ['name', 'agent-executor-c1.1'],
    ['name', 'agent-executor-pool-c1.1'],
    ['Labels', { 'agent-executor.agent': 'a', 'agent-executor.attempt': 'c.1' }],
    ['Labels', { 'agent-executor.agent': 'a', 'agent-executor.pool': '' }],
    ['User', '0:0'],
  ] as const)
    t.same(pooled({ [name]: value }), [name], `${name} ${JSON.stringify(value)}`)
  const { Tmpfs } = HostConfig as { Tmpfs: Record<string, string> }
  const input = Tmpfs['/input/own'] as string
  for (const tmpfs of [
    { ...Tmpfs, '/input/own': input.replace(/size=\d+/, `size=${2 * MIB}`) },
    { ...Tmpfs, '/input/own': input.replace('nosuid,', '') },
    { ...Tmpfs, '/input': input },
    Object.fromEntries(Object.entries(Tmpfs).filter(([path]) => path !== '/input/own')),
  ])
    t.same(pooled({}, { Tmpfs: tmpfs }), ['HostConfig.Tmpfs'])
  t.same(pooled({}, { NetworkMode: 'bridge' }), ['HostConfig.NetworkMode'])
  t.same(pooled({}, { Binds: ['/:/host'] }), ['HostConfig.Binds'])
})

t.test('one that asks an image what it is has another name and other labels, and nothing that is looser', async (t) => {
  const { HostConfig, ...container } = probeOptions({
    ...{ name: 'agent-executor-probe-1a', agentId: 'a', image: 'i', runtime: '', resources: RESOURCES },
    entrypoint: ['codex', '--version'],
  })
  const probed = (change: object = {}, host: object = {}) =>
    loosenings({ ...container, ...change, HostConfig: { ...HostConfig, ...host } }, RESOURCES, { for: 'probe' })
  t.same(probed(), [])
  t.same(loosenings({ ...container, HostConfig }, RESOURCES), ['Labels'], 'it is no attempt')
  t.same(loosenings(sandbox(), RESOURCES, { for: 'probe' }), ['name', 'Labels'], 'and an attempt is none')
  t.same(probed({ OpenStdin: true }), ['OpenStdin'])
  t.same(probed({}, { NetworkMode: 'bridge' }), ['HostConfig.NetworkMode'])
  t.same(probed({}, { Mounts: [...Mounts, { Type: 'bind', Source: '/', Target: '/host' }] }), ['HostConfig.Mounts'])
})

t.test('memory is limited, and swap is no more of it', async (t) => {
  t.same(found({}, { MemorySwap: 512 * MIB }), ['HostConfig.MemorySwap'])
  t.same(found({}, { MemorySwap: -1 }), ['HostConfig.MemorySwap'])
  t.same(found({}, { MemorySwap: 128 * MIB }), ['HostConfig.MemorySwap'], 'nor anything else than memory')
  t.same(found({}, { Memory: 0, MemorySwap: 0 }), ['HostConfig.Memory', 'HostConfig.MemorySwap'])
  t.same(found({}, { Memory: 257 * MIB, MemorySwap: 257 * MIB }), ['HostConfig.Memory', 'HostConfig.MemorySwap'])
})

t.test('volumes that an image declares are found on the container that was made', async (t) => {
  t.same(strayMounts(['/input']), [])
  t.same(strayMounts(['/input', '/var/lib/data']), ['/var/lib/data'])
})

t.test('the name and the labels are the attempt', async (t) => {
  const { name, Labels } = sandbox({ attemptId: '0198f0aa-x.y_z.7', agentId: 'a-1' })
  t.equal(name, 'agent-executor-0198f0aa-x.y_z.7')
  t.same(Labels, { 'agent-executor.agent': 'a-1', 'agent-executor.attempt': '0198f0aa-x.y_z.7' })
  t.equal(attemptOf(name as string), '0198f0aa-x.y_z.7')
  t.equal(attemptOf(poolSandbox().name as string), null)
})

t.test('of this machine one folder may be there, the one of the attempt, and only to be read', async (t) => {
  const folder = '/var/lib/agent/gateway/sockets/0123456789abcdef'
  const of = { for: 'attempt', gatewayFolder: folder } as const
  const made = sandbox({ gatewayFolder: folder })
  t.same(loosenings(made, RESOURCES, of), [])
  t.same(loosenings(made, RESOURCES), ['HostConfig.Mounts'], 'not where none is due')
  t.same(loosenings(sandbox(), RESOURCES, of), ['HostConfig.Mounts'], 'nor may it be missing')
  const [input, bind] = made.HostConfig?.Mounts ?? []
  t.ok(input && bind)
  for (const changed of [
    { ...bind, Source: '/var/lib/agent/gateway/sockets' },
    { ...bind, Source: '/var/lib/agent/gateway/sockets/fedcba9876543210' },
    { ...bind, Target: '/workspace' },
    { ...bind, ReadOnly: false },
    { ...bind, BindOptions: { Propagation: 'rshared' } },
    { ...bind, BindOptions: { Propagation: 'rprivate', NonRecursive: true } },
    { ...bind, Type: 'volume' },
  ])
    for (const mounts of [
      [input, changed],
      [input, bind, changed],
      [changed, bind],
      [bind, input],
    ]) {
      const options = { ...made, HostConfig: { ...made.HostConfig, Mounts: mounts as never } }
      t.same(loosenings(options, RESOURCES, of), ['HostConfig.Mounts'], JSON.stringify(mounts))
    }
  for (const strange of [
    '/',
    '/etc',
    '/var/run',
    '/a/b/..',
    '/a/b/../docker01',
    'relative/to/it/01234567',
    '/a//b/01234567',
  ]) {
    const options = sandbox({ gatewayFolder: strange })
    t.same(loosenings(options, RESOURCES, { for: 'attempt', gatewayFolder: strange }), ['HostConfig.Mounts'], strange)
  }
  t.same(strayMounts(['/input', '/gateway'], true), [])
  t.same(strayMounts(['/input', '/gateway']), ['/gateway'], 'a volume of that name is one of the image')
})
