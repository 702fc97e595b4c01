# Claude Code. Build with `npm run images -- claude-code`.
FROM node:22-bookworm-slim

# The same line in every image, so that they share its layer. The certificates are for what a run reaches besides its model.
RUN apt-get update \
  && apt-get install -y --no-install-recommends ca-certificates git ripgrep \
  && rm -rf /var/lib/apt/lists/*

# The lock has the hash of every part. No script of a package runs: what they would do is the link.
COPY claude-code/package.json claude-code/package-lock.json /opt/engine/
RUN cd /opt/engine \
  && npm ci --ignore-scripts --no-audit --no-fund \
  && npm cache clean --force \
  && rm -rf node_modules/@anthropic-ai/claude-code-linux-*-musl \
  && ln -s /opt/engine/node_modules/@anthropic-ai/claude-code-linux-*/claude /usr/local/bin/claude \
  && claude --version

WORKDIR /workspace
