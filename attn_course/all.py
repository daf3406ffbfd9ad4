"Every public name of the course, for notebooks: `from attn_course.all import *`."
from attn_course.data import *
from attn_course.render import *
from attn_course.plot import *
from attn_course.widgets import *
from attn_course.exercise import *
from attn_course.capture import *
from attn_course.cam import *
from attn_course.interpret import *
