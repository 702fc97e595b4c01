/** An agent as the server sees it, without a process: it registers, syncs once, waits. */
import { randomUUID } from 'node:crypto'
import { type Answer, type Connection, requestBytes } from './http-client.ts'
import type { CommandType } from './product.ts'

export class VirtualAgent {
  readonly agentId = `virtual-${randomUUID()}`
  readonly #connection: Connection
  readonly #type: CommandType

  constructor(connection: Connection, type: CommandType) {
    this.#connection = connection
    this.#type = type
  }

  /** Known to the server, with a free slot. */
  async appear(): Promise<void> {
    const journalId = randomUUID()
    const registration = {
      agentId: this.agentId,
      journalId,
      nonce: randomUUID(),
      previousNonces: [],
      previousIncarnation: 0,
      logSeq: 1,
      protocol: { min: 1, max: 1 },
      version: 'bench',
      types: [this.#type],
      labels: [],
      slots: { [this.#type]: 1 },
    }
    const { incarnation, epoch, rev } = await this.#connection.json<{
      incarnation: number
      epoch: string
      rev: number
    }>('POST', '/agents/register', registration)
    await this.#connection.json('POST', `/agents/${this.agentId}/sync`, {
      incarnation,
      epoch,
      seq: 1,
      revSeen: rev,
      logSeq: 2,
      mode: 'ready',
      want: { [this.#type]: 1 },
      held: [],
    })
  }

  /** 200 when there is news, 204 after the longest wait. */
  wait(): Promise<Answer> {
    return this.#connection.send(requestBytes('GET', `/agents/${this.agentId}/wait`))
  }
}
