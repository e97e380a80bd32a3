# Runs the program in the rest of standard input with `$python`. `marker` begins every reply.
#
# Standard input has one line for the request, as JSON, for the Python code below. The program reads the rest.
# If `python` is "", any will do: the one that started the server, else that of the system.

if [ -z "$python" ]; then
    own_name=$(uname -n 2>/dev/null) || IFS= read -r own_name </proc/sys/kernel/hostname
    python=$HOME/.local/state/notebooks-over-ssh/$own_name/python
    [ -x "$python" ] || python=$(command -v python3 || command -v python) || {
        printf '\n%s python-missing\n' "$marker"
        exit 0
    }
fi

# The working directory must not precede the standard library in sys.path.
# File names are UTF-8, whatever the locale of the login is.
exec "$python" -X utf8 -c '
import sys
sys.path[:] = [entry for entry in sys.path if entry]
import base64, json, types, zlib
request = json.loads(sys.stdin.buffer.readline().decode("utf-8"))
modules = zlib.decompress(base64.b64decode(request["modules"]))
for name, text in json.loads(modules.decode("utf-8")):
    module = types.ModuleType(name)
    sys.modules[name] = module
    exec(compile(text, name + ".py", "exec"), module.__dict__)
sys.modules["common"].MARKER = request["marker"]
try:
    module.main(request["parameters"])
except OSError as error:
    sys.modules["common"].reply_error(error)
'
