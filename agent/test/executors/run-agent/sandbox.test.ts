// The sandbox from within: each measure of docs/security.md is tried by a prompt that would get past it.
import t from 'tap'
import { dockerode, needsDocker } from '../../docker/fixtures/real-docker.ts'
import { agentWithDocker, resultOf } from './fixtures/attempts.ts'

const MIB = 2 ** 20

type Payload = Parameters<ReturnType<typeof agentWithDocker>['begin']>[0]
const outputOf = async (t: Parameters<typeof agentWithDocker>[0], prompt: string, more: Payload = {}) => {
  const result = resultOf(await agentWithDocker(t).begin({ prompt, ...more }).outcome)
  return { ...result, out: result.stdout.text, err: result.stderr.text }
}

t.test('there is no network: no interface but loopback, no names, no routes', needsDocker, async (t) => {
  const { out } = await outputOf(t, 'ls /sys/class/net; cat /proc/net/route; getent hosts example.com; echo $?')
  t.match(out, /^lo\n/)
  t.notMatch(out, /eth|docker|veth/)
  t.match(out, /2\n$/, 'a name does not resolve')
})

t.test('nobody, without capabilities, without a way to gain any', needsDocker, async (t) => {
  const { out } = await outputOf(t, "id -u; id -g; id -G; grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status")
  t.match(out, /^10001\n10001\n10001\n/)
  for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb']) t.match(out, new RegExp(`^${set}:\\t0+$`, 'm'))
  t.match(out, /^NoNewPrivs:\t1$/m)
  t.match(out, /^Seccomp:\t2$/m, 'a filter')
})

t.test('set-user-id programs give nothing', needsDocker, async (t) => {
  const { out } = await outputOf(
    t,
    'find / -xdev -perm -4000 -type f 2>/dev/null | head -1; cp /bin/sh /workspace/sh && chmod 4755 /workspace/sh; /workspace/sh -p -c "id -u"',
  )
  t.match(out, /10001\n$/)
})

t.test('only its own folders can be written, and programs run there', needsDocker, async (t) => {
  const folders = '/ /usr /etc /var /root /opt /input /input/files /input/out /run /dev /sys /proc'
  const prompt = [
    `for d in ${folders}; do touch $d/planted 2>/dev/null && echo "wrote $d"; done`,
    'echo changed > /input/prompt && echo "wrote the prompt"',
    'for d in /workspace /tmp "$HOME"; do printf "#!/bin/sh\\necho runs in $d\\n" > $d/p; chmod +x $d/p; $d/p; done',
  ].join('\n')
  const { out } = await outputOf(t, prompt, { files: [{ path: 'a', content: 'a' }] })
  t.equal(out, 'runs in /workspace\nruns in /tmp\nruns in /home/agent\n')
})

t.test('nothing of the host is there: no sockets, no binds, no devices', needsDocker, async (t) => {
  const { out } = await outputOf(
    t,
    'find / -xdev -type s 2>/dev/null; ls /var/run/docker.sock 2>&1; ls /dev; hostname; head -c 1 /dev/mem 2>&1 | wc -c',
  )
  t.match(out, /No such file/)
  t.notMatch(out, /\.sock\n(?!.*No such)/)
  t.notMatch(out, /^(sd|vd|nvme|kvm|mem|kmsg|loop)/m)
  t.match(out, /^sandbox$/m)
})

t.test('only its own processes are seen', needsDocker, async (t) => {
  const { out } = await outputOf(t, 'ls /proc | grep -cE "^[0-9]+$"')
  t.ok(Number(out) < 10, out)
})

t.test('processes are limited: a fork bomb ends, and the machine goes on', needsDocker, async (t) => {
  const { out } = await outputOf(
    t,
    'n=0; while [ $n -lt 200 ]; do sleep 30 2>/dev/null & n=$((n+1)); done 2>/dev/null; ls /proc | grep -cE "^[0-9]+$"',
    { resources: { pidsMax: 32 } },
  )
  t.ok(out === '' || Number(out) <= 32, out)
})

t.test('memory is limited, swap and tmpfs included', needsDocker, async (t) => {
  const { out, oomKilled, reason } = await outputOf(t, 'echo begun; exec tail /dev/zero', {
    resources: { memoryBytes: 32 * MIB },
  })
  t.same([out, oomKilled, reason], ['begun\n', true, 'outOfMemory'])
})

t.test('folders and files are limited in size', needsDocker, async (t) => {
  const { out } = await outputOf(
    t,
    [
      'head -c 40000000 /dev/zero > /workspace/a; stat -c %s /workspace/a; rm /workspace/a',
      'df -B1 --output=size /workspace /output /tmp "$HOME" | tail -n +2 | tr -d " "',
      // The files on a disk that it may write.
      'for f in once out/tar out/notes; do head -c 40000000 /dev/zero > /input/$f; stat -c %s /input/$f; done',
    ].join('\n'),
    { resources: { workspaceBytes: 4 * MIB } },
  )
  t.same(
    out.split('\n').slice(1, 5),
    [4, 4, 64, 64].map((size) => String(size * MIB)),
  )
  const [inWorkspace, , , , , ...onDisk] = out.trim().split('\n').map(Number)
  t.ok((inWorkspace as number) <= 4 * MIB)
  t.equal(onDisk.length, 3)
  t.ok(onDisk.every((bytes) => bytes <= 4 * MIB))
})

t.test('what Docker was told is what Docker does', needsDocker, async (t) => {
  const agent = agentWithDocker(t)
  await agent.begin({}).outcome
  const { HostConfig, Config } = await agent.container().inspect()
  t.match(HostConfig, {
    ...{ NetworkMode: 'none', ReadonlyRootfs: true, Privileged: false, AutoRemove: false, Init: true },
    ...{ CapDrop: ['ALL'], SecurityOpt: ['no-new-privileges'], IpcMode: 'private', PidsLimit: 64 },
    ...{ Memory: 128 * MIB, MemorySwap: 128 * MIB, NanoCpus: 1e9, RestartPolicy: { Name: 'no' } },
    LogConfig: { Type: 'local', Config: { 'max-size': '10485760', 'max-file': '3' } },
  })
  t.match(Config, { User: '10001:10001', Tty: false, OpenStdin: false })
  t.same(HostConfig.Binds ?? [], [])
  t.equal((await dockerode.listContainers({ filters: { label: [`agent-executor.agent=${agent.agentId}`] } })).length, 0)
})
