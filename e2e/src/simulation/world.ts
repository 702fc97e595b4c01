/**
 * One world: a server, a few machines, a network, and steps. What a step does depends on the seed, its number and the
 * state it finds, so that a story can be told again without some of its steps.
 */

import { type Command, newestAttempt } from '@agent-executor/control-server/lifecycle/command'
import { commandOf } from '@agent-executor/control-server/lifecycle/submission'
import type { Submission } from '@agent-executor/protocol'
import { createRandom } from '../random.ts'
import { type Call, type CallAnswer, Crash, createMachine, type Machine } from './machine.ts'
import { copyOf, type Disk, newDisk } from './memory-journal.ts'
import { createObserver, Violation } from './observer.ts'
import { drawPlan } from './plan.ts'
import { type Backup, createServer } from './server.ts'
import { textOf, textOfAnswer } from './story.ts'

export type WorldOptions = {
  seed: number
  /** Which of its steps happen, in this order; all numbers below `STEPS` where nothing is left out. */
  steps: readonly number[]
  /** Disks of the server and of the machines keep what they have confirmed. */
  fsync?: boolean
  /** Writes down what happens. */
  tell?: (line: string) => void
}

export type WorldResult = {
  violation: { promise: string; message: string } | null
  commands: number
  effects: number
  faults: Readonly<Record<string, number>>
}

const STEPS = 300
export const ALL_STEPS: readonly number[] = Array.from({ length: STEPS }, (_, index) => index)

const HOUR_MS = 3_600_000

type Message = { machine: Machine; life: number; call: Call; notBeforeMs: number } & (
  | { to: 'server' }
  | { to: 'machine'; answer: CallAnswer }
)
type Partition = { untilMs: number; ways: readonly Message['to'][] }

export function runWorld({ seed, steps, fsync = true, tell }: WorldOptions): WorldResult {
  let random = createRandom(seed)
  const plan = drawPlan(random)
  const faults: Record<string, number> = {}
  const fault = (name: string, detail = ''): void => {
    faults[name] = (faults[name] ?? 0) + 1
    say(() => `! ${name} ${detail}`)
  }
  const observer = createObserver()
  const network: Message[] = []
  let nowMs = 0
  let ids = 0
  /** Whose request is being answered, unless that process is gone. */
  let speaking: Machine | null = null
  let crashy = 0
  let serverUp = true
  let backup: Backup | null = null
  const newId = () => `id-${String(ids++).padStart(6, '0')}`
  /** In words only where somebody listens: they cost more than what they tell of. */
  const say = (line: () => string): void => tell?.(`${String(Math.round(nowMs)).padStart(8)} ${line()}`)

  const server = createServer({
    policy: { offerMs: 20_000, lostGraceMs: 60_000, poisonAfter: 3 },
    leaseMs: plan.leaseMs,
    nowMs: () => Math.round(nowMs),
    random: () => random.next(),
    newId,
    fsync,
    observer: {
      stored(before, change) {
        const { command, entry } = change
        say(() => {
          const detail = entry.detail === undefined ? '' : JSON.stringify(entry.detail)
          return `  ${command.commandId} ${entry.type}: ${entry.from} -> ${entry.to}, attempt ${entry.attempt} ${detail}`
        })
        observer.stored(before, change)
        if (entry.type === 'lost') lost(command, (entry.detail as { reason: string }).reason)
      },
    },
    crashPoint(place) {
      if (crashy > 0 && random.chance(crashy)) {
        serverUp = false
        throw new Crash(`${place} a commit`)
      }
    },
  })

  const machines: Machine[] = Array.from({ length: plan.machines }, (_, index) => {
    const agentId = plan.twins ? 'twin' : `agent-${index}`
    return createMachine({
      name: `machine-${index}`,
      agentId,
      disk: newDisk(agentId, newId()),
      slots: plan.slots,
      effectMs: () => plan.effectMs,
      clockRate: 1 + (random.next() - 0.5) * 0.008,
      fsync,
      trueMs: () => nowMs,
      random: () => random,
      newId,
      crashPoint(name) {
        if (crashy > 0 && random.chance(crashy)) {
          faults[name] = (faults[name] ?? 0) + 1
          throw new Crash(`at ${name}`)
        }
      },
      observer,
      tell: say,
    })
  })
  const copies = new Map<Machine, Disk>()
  const partitions = new Map<Machine, Partition>()
  /** The last answers to each machine, whatever became of them. */
  const earlier = new Map<Machine, { kind: Call['kind']; answer: CallAnswer }[]>()

  /** Never said of what its agent has just named, nor of what an agent holds within its lease. */
  function lost(command: Command, reason: string): void {
    const attemptId = `${command.commandId}.${newestAttempt(command)?.number}`
    if (reason === 'leaseOver') return
    const holders = machines.filter((machine) => (reason === 'absent') === (machine === speaking))
    for (const machine of holders) {
      const entry = machine.journal().get(attemptId)
      const holds = entry !== undefined && entry.phase !== 'ACKED'
      if (holds && (reason === 'absent' || machine.leased())) observer.forgotten(attemptId)
    }
  }

  // ── what the steps are made of ──────────────────────────────────────────────────────────────────────────────────────

  /** Everything that happens by itself until then, in its order. */
  const elapse = (untilMs: number): void => {
    for (;;) {
      let first: Machine | null = null
      let firstMs = untilMs
      for (const machine of machines) {
        const nextMs = machine.nextMs()
        if (nextMs <= firstMs) [first, firstMs] = [machine, nextMs]
      }
      if (first === null) break
      // A clock that has been rounded down is looked at again a little later.
      nowMs = Math.max(nowMs + 0.5, firstMs)
      first.elapse()
    }
    nowMs = Math.max(nowMs, untilMs)
  }

  const submit = (): void => {
    for (let count = random.between(1, 9); count > 0; count--) {
      const maxAttempts = random.chance(plan.retried) ? random.between(2, 3) : 1
      const submission = {
        type: random.pick(['DELAY', 'HTTP_GET_JSON'] as const),
        payload: { ms: 1000, url: 'http://example.test/' },
        timeoutMs: 60_000,
        retry: { maxAttempts, backoff: { initialMs: plan.backoffMs, maxMs: 5000, factor: 2 } },
        ...(maxAttempts > 1 && random.chance(plan.auto) ? { takeover: 'auto' } : {}),
        ...(random.chance(0.1) ? { expiresAt: new Date(nowMs + 30_000).toISOString() } : {}),
        ...(random.chance(0.1) ? { totalTimeoutMs: 90_000 } : {}),
        ...(random.chance(0.1) ? { notBefore: new Date(nowMs + 5000).toISOString() } : {}),
        ...(random.chance(0.2) ? { lostAfterMs: random.pick([0, 20_000]) } : {}),
        ...(random.chance(0.2) ? { priority: random.between(1, 9) } : {}),
      } as unknown as Submission
      const command = commandOf(submission, `c${String(ids++).padStart(6, '0')}`, Math.round(nowMs))
      observer.asked(command)
      server.submit(command)
      observer.submitted(command)
    }
  }

  const post = (machine: Machine, call: Call | null): void => {
    if (call !== null) network.push({ to: 'server', machine, life: machine.life(), call, notBeforeMs: 0 })
  }

  const serve = (machine: Machine, life: number, call: Call): CallAnswer => {
    speaking = machine.life() === life ? machine : null
    try {
      switch (call.kind) {
        case 'register':
          return server.register(call.sent.request)
        case 'sync':
          return server.sync(machine.agentId, call.sent.request)
        case 'heartbeat':
          return server.heartbeat(machine.agentId, call.request)
      }
    } finally {
      speaking = null
    }
  }

  /** One message arrives: at its time or later than others, once, twice or never. */
  const deliver = (faulty: boolean) => {
    const due = network.filter(({ notBeforeMs }) => notBeforeMs <= nowMs)
    const message = due[faulty && random.chance(0.2) ? random.between(0, due.length - 1) : 0]
    if (message === undefined) return
    const { machine, call, life, to } = message
    const partition = partitions.get(machine)
    const cut = faulty && partition !== undefined && partition.untilMs > nowMs && partition.ways.includes(to)
    if (faulty && !cut && random.chance(plan.loss / 2)) {
      fault('message late', `${call.kind} to ${to}`)
      message.notBeforeMs = nowMs + random.next() * 2 * plan.leaseMs
      return
    }
    if (faulty && random.chance(plan.loss / 3)) fault('message twice', `${call.kind} to ${to}`)
    else network.splice(network.indexOf(message), 1)
    if (cut || (faulty && random.chance(plan.loss))) {
      fault('message lost', `${call.kind} to ${to}`)
      return misdirect(message)
    }
    if (message.to === 'machine') {
      if (machine.life() === life) machine.answered(call, message.answer, server)
      return
    }
    if (!serverUp) return
    const answer = answerTo(machine, life, call)
    network.push({ to: 'machine', machine, life, call, answer, notBeforeMs: 0 })
    earlier.set(machine, [...(earlier.get(machine) ?? []).slice(-4), { kind: call.kind, answer }])
  }

  const answerTo = (machine: Machine, life: number, call: Call): CallAnswer => {
    if (random.chance(plan.snapshots)) copies.set(machine, copyOf(machine.journal().disk()))
    const answer = serve(machine, life, call)
    say(() => `${machine.name} ${textOf(call)} => ${answer.ok ? textOfAnswer(answer.response) : answer.code}`)
    return answer
  }

  /** Something on the way answers with what it has kept of an earlier request. */
  const misdirect = ({ machine, call, life }: Message): void => {
    const kept = (earlier.get(machine) ?? []).filter(({ kind }) => kind === call.kind)
    if (call.kind !== 'sync' || kept.length === 0 || !random.chance(0.3) || machine.life() !== life) return
    fault('answer to another request', machine.name)
    machine.answered(call, random.pick(kept).answer, server)
  }

  const restartServer = (from: Backup | null): void => {
    serverUp = true
    for (let index = network.length - 1; index >= 0; index--) if (random.chance(0.7)) network.splice(index, 1)
    server.restart(from)
  }

  const idle = (machine: Machine): boolean =>
    machine
      .journal()
      .open()
      .every(({ phase }) => phase === 'FINISHED')

  /** What a disk goes through. Left out is what cannot be noticed, which the documents name. */
  const disaster = (machine: Machine): void => {
    const disk = machine.journal().disk()
    const seen = server.agent(machine.agentId)
    // A journal that is gone together with the server's memory of it is two disks lost at once.
    const mayLose = !server.recovering()
    switch (random.pick(['copy', 'copy', 'back', 'back', 'lose', 'clone', 'backup', 'backup', 'restore', 'restore'])) {
      case 'copy':
        copies.set(machine, copyOf(disk))
        return
      case 'back': {
        const copy = copies.get(machine)
        const told =
          copy !== undefined && seen?.journalId === copy.identity.journalId && copy.identity.logSeq < seen.logSeq
        if (copy === undefined || !told || disk.identity.journalId !== copy.identity.journalId || !mayLose) return
        fault('journal set back', machine.name)
        machine.setDisk(copyOf(copy))
        backup = null
        // Lives that end before they have registered.
        for (let lives = random.between(0, 2); lives > 0; lives--) {
          machine.boot()
          machine.kill()
        }
        return
      }
      case 'lose':
        if (!mayLose) return
        fault('journal lost', machine.name)
        machine.setDisk(newDisk(machine.agentId, newId()))
        copies.delete(machine)
        backup = null
        return
      case 'clone': {
        if (!plan.twins || !mayLose) return
        const [from, to] = random.chance(0.5) ? machines : [...machines].reverse()
        if (from === undefined || to === undefined || !idle(from) || !idle(to)) return
        fault('machine cloned', `${from.name} to ${to.name}`)
        to.setDisk(copyOf(from.journal().disk()))
        copies.clear()
        backup = null
        return
      }
      case 'backup':
        if (!plan.twins && serverUp && !server.recovering() && server.agents() === plan.machines)
          backup = server.backup()
        return
      case 'restore':
        if (backup === null) return
        fault('server set back')
        restartServer(backup)
        observer.restored(server)
        copies.clear()
        backup = null
        return
    }
  }

  const crash = () => {
    const machine = random.pick(machines)
    switch (random.pick(['kill', 'power', 'suspend', 'suspend', 'clock', 'mode', 'server', 'server power'])) {
      case 'kill':
        fault('agent killed', machine.name)
        return machine.kill()
      case 'power':
        fault('agent without power', machine.name)
        return machine.cutPower()
      case 'suspend':
        if (!machine.up() || machine.suspended()) return
        fault('machine suspended', machine.name)
        return machine.suspend()
      case 'clock':
        fault('clock set', machine.name)
        return machine.setWallClock((random.next() - 0.5) * 2 * HOUR_MS)
      case 'mode':
        return machine.setMode(random.pick(['ready', 'ready', 'paused', 'draining']))
      case 'server':
        fault('server killed')
        serverUp = false
        return
      case 'server power':
        fault('server without power')
        server.cutPower(random.next())
        serverUp = false
    }
  }

  const isolate = (machine: Machine): void => {
    fault('machine isolated', machine.name)
    const ways = random.pick([['server'], ['machine'], ['server', 'machine']] as const)
    partitions.set(machine, { untilMs: nowMs + random.next() * 3 * plan.leaseMs, ways })
  }

  /** Several round trips on a network that is fast just then. */
  const exchange = (machine: Machine): void => {
    if (!machine.up()) machine.boot()
    for (let count = random.between(1, 4); count > 0; count--) {
      if (machine.suspended() || (partitions.get(machine)?.untilMs ?? 0) > nowMs) return
      const call = machine.call()
      if (call === null || !serverUp) return
      const life = machine.life()
      const answer = answerTo(machine, life, call)
      if (machine.life() === life) machine.answered(call, answer, server)
    }
  }

  const race = (): void => {
    const overMs = serverUp ? server.leaseOverMs() : Number.POSITIVE_INFINITY
    if (overMs > nowMs + 2 * plan.leaseMs) return
    elapse(overMs + random.next() * 300)
    server.sweep()
    elapse(nowMs + 2 * plan.backoffMs)
    server.sweep()
    for (const machine of machines) if (random.chance(0.7)) exchange(machine)
  }

  const step = () => {
    elapse(nowMs + random.next() ** 3 * plan.paceMs)
    if (serverUp && random.chance(0.5)) server.sweep()
    crashy = random.chance(plan.crashes) ? 0.2 : 0
    if (random.chance(plan.races)) return race()
    if (random.chance(plan.crashes)) return crash()
    if (random.chance(plan.partitions)) return isolate(random.pick(machines))
    if (random.chance(plan.disasters)) return disaster(random.pick(machines))
    const what = random.next()
    if (what < 0.1) {
      if (serverUp) submit()
    } else if (what < 0.2) exchange(random.pick(machines))
    else if (what < 0.45) deliver(true)
    else if (what < 0.75) {
      const machine = random.pick(machines)
      if (machine.suspended()) {
        if (random.chance(0.4)) machine.resume()
      } else if (!machine.up()) machine.boot()
      else if (!machine.waiting() || random.chance(0.1)) post(machine, machine.call())
      else deliver(true)
    } else if (what < 0.8) {
      const machine = random.pick(machines)
      post(machine, machine.beat())
    } else if (what < 0.83) {
      const open = server.unfinished()
      if (serverUp && open.length > 0 && random.chance(0.4)) server.cancel(random.pick(open))
    } else if (!serverUp && random.chance(0.5)) restartServer(null)
    else if (!network.length) {
      const machine = random.pick(machines)
      if (machine.up() && !machine.waiting()) post(machine, machine.call())
    } else deliver(true)
  }

  /** A crash of the server inside a step is part of the story, not of the program. */
  const survive = (body: () => void): void => {
    try {
      body()
    } catch (error) {
      if (!(error instanceof Crash)) throw error
      fault('server dies', error.message)
    }
  }

  /** No more faults: everything has to end. */
  const settle = (): void => {
    crashy = 0
    partitions.clear()
    plan.effectMs = 1000
    say(() => 'no more faults')
    if (!serverUp) restartServer(null)
    network.length = 0
    for (const machine of machines) {
      machine.setMode('ready')
      if (machine.suspended()) machine.resume()
    }
    // Two processes with one identity: the second waits for the first, for ever.
    if (plan.twins) machines[1]?.kill()
    const working = plan.twins ? machines.slice(0, 1) : machines
    const done = () =>
      !server.recovering() &&
      server.unfinished().length === 0 &&
      working.every((machine) => machine.journal().open().length === 0)
    for (let round = 0; round < 600 && !done(); round++) {
      elapse(nowMs + (round < 100 ? 2000 : 20_000))
      server.sweep()
      for (const machine of working) {
        if (!machine.up()) machine.boot()
        for (let exchange = 0; exchange < 4; exchange++) {
          post(machine, machine.call())
          while (network.length > 0) deliver(false)
        }
      }
    }
    observer.settled(
      server,
      working.flatMap((machine) =>
        machine
          .journal()
          .open()
          .map(({ attemptId }) => attemptId),
      ),
    )
  }

  let violation: WorldResult['violation'] = null
  try {
    for (const machine of machines) machine.boot()
    for (const number of steps) {
      random = createRandom((seed ^ Math.imul(number + 1, 0x9e3779b1)) >>> 0)
      survive(step)
    }
    random = createRandom(seed ^ 0x5bd1e995)
    settle()
  } catch (error) {
    if (!(error instanceof Violation)) {
      const message = error instanceof Error ? (error.stack ?? error.message) : String(error)
      violation = { promise: 'fault', message }
    } else violation = { promise: error.promise, message: error.message }
    const { message } = violation
    say(() => `VIOLATION ${message}`)
  }
  const { commands, effects } = observer.counts()
  return { violation, commands, effects, faults }
}
