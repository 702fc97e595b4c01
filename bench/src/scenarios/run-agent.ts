import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { watchForeignLoad } from '../accounting.ts'
import {
  attachContainer,
  countWaiting,
  dockerMissing,
  makeContainer,
  removeContainer,
  removeContainersWith,
  renameContainer,
  startContainer,
  waitForContainer,
} from '../docker.ts'
import { percentile } from '../figures/statistics.ts'
import { bootProduct, type Product } from '../product.ts'
import { monotonicMs } from '../rig.ts'
import { type Measured, type Scenario, withRig } from './scenario.ts'

const SCRIPT = 'echo hello'
const WARM_UP = 2
const QUIET_MS = 200

const timed = async (body: () => Promise<unknown>): Promise<number> => {
  const startMs = monotonicMs()
  await body()
  return monotonicMs() - startMs
}

const SPAWN = 'bare script, by spawn'
const DOCKER_COLD = 'Docker alone, cold'
const DOCKER_WARM = 'Docker alone, warm'
const HAND_OVER = 'hand-over alone, DELAY of 0 ms'
const COLD = 'RUN_AGENT, cold'
const WARM = 'RUN_AGENT, warm'
const FLOORS: Readonly<Record<string, string>> = { [COLD]: DOCKER_COLD, [WARM]: DOCKER_WARM }

async function measure(product: Product, count: number, { place, record }: Measured): Promise<void> {
  const file = join(place.folder, 'script')
  writeFileSync(file, `${SCRIPT}\n`)
  const usual = ['--slots', '10', '--max-concurrent-agents', '2']
  const coldAgent = await product.startAgent([...usual, '--pool-size', '0'])
  const warmAgent = await product.startAgent([...usual, '--pool-size', '2'])
  const command = (agentId: string) => ({ type: 'RUN_AGENT', agentId, payload: { engine: 'shell', prompt: SCRIPT } })

  /** Each does what is not counted before and after what is. */
  const bodies: Record<string, () => Promise<number>> = {
    [SPAWN]: () =>
      timed(() => {
        const child = spawn('/bin/sh', [file], { stdio: ['ignore', 'pipe', 'pipe'] })
        child.stdout.resume()
        child.stderr.resume()
        return once(child, 'close')
      }),
    [DOCKER_COLD]: async () => {
      let id = ''
      const ms = await timed(async () => {
        id = await makeContainer(['/bin/sh', '-c', SCRIPT])
        await startContainer(id)
        await waitForContainer(id)
      })
      await removeContainer(id)
      return ms
    },
    [DOCKER_WARM]: async () => {
      const id = await makeContainer(['/bin/sh'], true)
      await startContainer(id)
      await sleep(QUIET_MS)
      const ms = await timed(async () => {
        await renameContainer(id)
        const socket = await attachContainer(id)
        socket.resume().end(`exec /bin/sh -c '${SCRIPT}' </dev/null\n`)
        await waitForContainer(id)
      })
      await removeContainer(id)
      return ms
    },
    [HAND_OVER]: () => product.runOne({ type: 'DELAY', agentId: coldAgent, payload: { ms: 0 } }),
    [COLD]: () => product.runOne(command(coldAgent)),
    [WARM]: async () => {
      while ((await countWaiting(warmAgent)) < 2) await sleep(20)
      await sleep(QUIET_MS)
      return product.runOne(command(warmAgent))
    },
  }

  const took = Object.fromEntries(Object.keys(bodies).map((variant) => [variant, [] as number[]]))
  const foreign = watchForeignLoad()
  try {
    // In turn, so that a disturbance meets all alike.
    for (let round = 0; round < count + WARM_UP; round++)
      for (const [variant, body] of Object.entries(bodies)) {
        const ms = await body()
        if (round >= WARM_UP) took[variant]?.push(ms)
        await sleep(QUIET_MS)
      }
  } finally {
    for (const label of [
      `agent-executor.agent=${coldAgent}`,
      `agent-executor.agent=${warmAgent}`,
      `agent-executor.bench=${process.pid}`,
    ])
      await removeContainersWith(label)
  }
  const p50 = (variant: string) => percentile(took[variant] ?? [], 50)
  const foreignCores = foreign()
  for (const variant of Object.keys(bodies)) {
    const floor = FLOORS[variant]
    const own = p50(variant)
    record(
      {
        p50Ms: own,
        p99Ms: percentile(took[variant] ?? [], 99),
        ...(variant === SPAWN ? {} : { overSpawnMs: own - p50(SPAWN), spawnRatio: own / p50(SPAWN) }),
        ...(floor === undefined ? {} : { floorRatio: own / p50(floor) }),
      },
      foreignCores,
      variant,
    )
  }
}

export const runAgent: Scenario = {
  name: 'run-agent',
  title: 'RUN_AGENT',
  method:
    'One script that writes a line, one at a time and in turn: by spawn, in a container made or renamed over Docker’s socket without the product, and as a command, from the sending of the submission until the result is read, which is looked for every 2 ms. Warm, a container had been started before; how long that takes is not counted. The floors are Docker’s own: a container made, started and waited for, or one that waits, renamed, given the script on standard input and waited for.',
  missing: dockerMissing,
  units: ({ scale }) => [
    {
      subject: 'one script',
      variant: '',
      run: (measured) =>
        withRig(bootProduct(measured.place), (product) => measure(product, scale.containers, measured)),
    },
  ],
}
