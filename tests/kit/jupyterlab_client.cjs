// Uses a Jupyter server with @jupyterlab/services, as VS Code does; `node jupyterlab_client.cjs FOLDER`, in which the
// packages are. Reads the address, with its token, from standard input; the last line that it prints is JSON.
const { readFileSync } = require("fs");
const { createRequire } = require("module");
const services = createRequire(`${process.argv[2]}/`)("@jupyterlab/services");

// Node 18 has no global File.
globalThis.File ??= require("buffer").File;

async function main() {
  const url = new URL(readFileSync(0, "utf8").trim());
  const baseUrl = `${url.origin}/`;
  const connect = (token) =>
    services.ServerConnection.makeSettings({ baseUrl, wsUrl: baseUrl.replace("http", "ws"), token, appendToken: true });

  let refused;
  try {
    await services.KernelAPI.listRunning(connect("0".repeat(48)));
  } catch (error) {
    refused = error.response.status;
  }

  const serverSettings = connect(url.searchParams.get("token"));
  const contents = new services.ContentsManager({ serverSettings });
  const text = "a line of the editor's\n".repeat(50000);
  await contents.save("from-the-editor.txt", { type: "file", format: "text", content: text });
  const saved = (await contents.get("from-the-editor.txt", { content: true })).content === text;
  await contents.delete("from-the-editor.txt");

  const kernels = new services.KernelManager({ serverSettings });
  const specs = await services.KernelSpecAPI.getSpecs(serverSettings);
  const sessions = new services.SessionManager({ kernelManager: kernels, serverSettings });
  const session = await sessions.startNew({ path: "editor.ipynb", name: "editor.ipynb", type: "notebook", kernel: { name: specs.default } });
  const run = async (code, onOutput = () => {}) => {
    const outputs = [];
    const future = session.kernel.requestExecute({ code });
    future.onIOPub = (message) => {
      if (message.header.msg_type === "stream") {
        outputs.push(message.content.text);
        onOutput();
      }
    };
    const reply = await future.done;
    return [reply.content.status, outputs.join("")];
  };
  const first = await run("kept = 6; print(kept * 7)");
  const error = await run("1 / 0");
  const interrupted = await run("import time; print('it sleeps', flush=True); time.sleep(900)", () =>
    session.kernel.interrupt(),
  );
  await session.kernel.restart();
  const restarted = await run("print('kept' in globals())");
  await session.shutdown();
  console.log(JSON.stringify({ refused, saved, first, error: error[0], interrupted: interrupted[0], restarted }));
}

main().then(
  () => process.exit(0),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
