/** One at a time for each name: whoever comes meanwhile waits, in the order of coming. */
export function createTurns() {
  const last = new Map<string, Promise<unknown>>()
  return async <Result>(name: string, body: () => Promise<Result>): Promise<Result> => {
    const before = last.get(name) ?? Promise.resolve()
    const mine = before.then(body, body)
    last.set(name, mine)
    try {
      return await mine
    } finally {
      if (last.get(name) === mine) last.delete(name)
    }
  }
}
