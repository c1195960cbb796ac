"""Code written to do harm: bodies of `process()`."""

BODIES = [
    "return open('/etc/passwd').read()",
    "import os\n  return os.environ['PATH']",
    "import os\n  return os.listdir('/')",
    "import os\n  os.system('true')\n  return 1",
    "import subprocess\n  return 1",
    "import sys\n  return sys.modules['os']",
    "from pathlib import Path\n  return Path('/etc/passwd').read_text()",
    "from pathlib import Path\n  Path('/tmp/x').write_text('x')\n  return 1",
    "return ().__class__.__bases__[0].__subclasses__()",
    "return (lambda: 0).__globals__",
    "return process.__code__.co_code",
    "return __import__('os').getcwd()",
    "return eval('__import__(\"os\").getpid()')",
    "import ctypes\n  return 1",
    "return '{0.__class__}'.format(1)",
    "return globals()['__builtins__']",
    "import urllib.request\n  return 1",
    "import builtins\n  return builtins.open('/etc/passwd').read()",
    "try:\n    raise ValueError\n  except ValueError as e:\n    return e.__traceback__.tb_frame.f_back.f_globals",
]
"""To reach what is not data."""
ENDLESS = [
    "while True: pass",
    "while True:\n    try:\n      while True: pass\n    except BaseException: pass",
    "return sum(x * y for x in range(10**6) for y in range(10**6))",
    "return process()",
    "a = []\n  while True: a.append('x' * 100_000)",
    "return len('x' * 10**10)",
    "return len(str(9 ** 9 ** 9))",
    "a = []\n  for _ in range(100_000):\n    a = [a]\n  return a",
    "return 'x' * 2_000_000",
    "return [[]] * 200_000",
    "return float('nan')",
    "return '\\0'",
]
"""To take time, memory or depth, or to give what is no JSON."""
