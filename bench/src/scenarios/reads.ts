import { watchForeignLoad } from '../accounting.ts'
import { closedLoop } from '../closed-loop.ts'
import { percentile } from '../figures/statistics.ts'
import { PRODUCT, READS, readVariant, WAIT } from '../figures/variants.ts'
import { Connection, requestBytes } from '../http-client.ts'
import { bootProduct } from '../product.ts'
import { monotonicMs } from '../rig.ts'
import { VirtualAgent } from '../virtual-agent.ts'
import { filledDatabase } from './growth.ts'
import { type Scenario, withRig } from './scenario.ts'

const WAITS = 20

/** The path of each, from the id of a finished command in the middle and of the agent that ran it. */
const PATHS: Record<(typeof READS)[number], (commandId: string, agentId: string) => string> = {
  'one by id': (commandId) => `/commands/${commandId}`,
  'newest 50': () => '/commands?limit=50',
  // A cursor as the server makes them; to page there would take thousands of requests.
  '50 from the middle': (commandId) => `/commands?limit=50&cursor=${Buffer.from(commandId).toString('base64url')}`,
  'status that all have': () => '/commands?limit=50&status=COMPLETED',
  'status that none has': () => '/commands?limit=50&status=FAILED',
  'type that all have': () => '/commands?limit=50&type=DELAY',
  'type that few have': () => '/commands?limit=50&type=HTTP_GET_JSON',
  'agent that ran all': (_, agentId) => `/commands?limit=50&agentId=${agentId}`,
  'agent that ran none': () => '/commands?limit=50&agentId=nobody',
}

export const reads: Scenario = {
  name: 'reads',
  title: 'Reads',
  method:
    'One request at a time to a database with so many finished commands. Filters that match every command and filters that match none are both there. `wait` is from sending a submission to the answer of an agent’s parked wait call.',
  units: ({ scale, folder }) => {
    const size = Math.max(...scale.sizes)
    return [
      {
        subject: PRODUCT,
        variant: '',
        run: async ({ place, record }) => {
          const database = await filledDatabase(folder, 'finished', size)
          await withRig(bootProduct(place, { dataDir: database.dataDir }), async (rig) => {
            const connection = await Connection.open(rig.port)
            const commandId = database.commandId(Math.ceil(size / 2))
            const { attempts } = await connection.json<{ attempts: [{ agentId: string }] }>(
              'GET',
              `/commands/${commandId}`,
            )
            for (const what of READS) {
              const request = requestBytes('GET', PATHS[what](commandId, attempts[0].agentId))
              const get = async () => {
                const { status, body } = await connection.send(request)
                if (status !== 200) throw new Error(`${what} was answered ${status}: ${body}`)
              }
              await get()
              const foreign = watchForeignLoad()
              const { p50Ms, p99Ms } = await closedLoop({ inFlight: 1, ms: scale.readMs }, get)
              record({ p50Ms, p99Ms }, foreign(), readVariant(what, size))
            }
            const foreign = watchForeignLoad()
            const waitsMs: number[] = []
            for (let count = 0; count < WAITS; count++) waitsMs.push(await waitMs(rig.port, connection))
            const values = { p50Ms: percentile(waitsMs, 50), p99Ms: percentile(waitsMs, 99) }
            record(values, foreign(), readVariant(WAIT, size))
            connection.close()
          })
        },
      },
    ]
  },
}

/** From the sending of a submission to the news of it: for an agent of its own, which has no other command to look at. */
async function waitMs(port: number, submitting: Connection): Promise<number> {
  const waiting = await Connection.open(port)
  const agent = new VirtualAgent(waiting, 'HTTP_GET_JSON')
  await agent.appear()
  const news = agent.wait().then(() => monotonicMs())
  const sentMs = monotonicMs()
  const submission = { type: 'HTTP_GET_JSON', payload: { url: 'http://127.0.0.1/' }, agentId: agent.agentId }
  await submitting.json('POST', '/commands', submission, 201)
  const tookMs = (await news) - sentMs
  waiting.close()
  return tookMs
}
